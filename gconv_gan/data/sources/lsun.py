"""LSUN church_outdoor from the official LMDB, or from the folder that LSUN's own tool exports from it.

Yu et al., "LSUN: Construction of a Large-scale Image Dataset using Deep Learning with Humans in the Loop" (2015). In the LMDB the value
is an encoded picture (WebP, short side 256) and the key is 40 hexadecimal digits; the export names each picture by its key, flat or in
nested folders of the key's first digits. Both are ordered by their keys and give the same data.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from gconv_gan.config.errors import AbsentDataError, UserError
from gconv_gan.config.sections.data import LSUNChurchDataConfig
from gconv_gan.data.reading.archives import FolderTree, Parts, is_picture, unreadable
from gconv_gan.data.reading.fingerprint import content_hash
from gconv_gan.data.reading.pictures import decode, pictures_recipe
from gconv_gan.data.sources.official import OfficialFile, fetch_and_unpack
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

CATEGORY = "church_outdoor"
SITE = "http://dl.yf.io/lsun/scenes/"
LSUN_CHURCH: Mapping[str, OfficialFile] = {
    "train": OfficialFile(
        f"{CATEGORY}_train_lmdb.zip",
        f"{SITE}{CATEGORY}_train_lmdb.zip",
        "sha256:91128ae026840ac0c5982b4445ab5fc4e092d6847cca76793b2b1a0815c2e74a",
        2_448_463_466,
    ),
    "val": OfficialFile(
        f"{CATEGORY}_val_lmdb.zip",
        f"{SITE}{CATEGORY}_val_lmdb.zip",
        "sha256:34635b7547a3e51a15f942a4a4082dd6bc9cca381a953515cb2275c0eed50584",
        5_957_308,
    ),
}
PUBLISHED = {
    "bicubic": "latent-diffusion's centre crop and bicubic resize (its church lists take 121,227 of the training images)",
    "lanczos": "StyleGAN2's and StyleGAN3's dataset_tool with center-crop",
    "bilinear": "mimicry's CenterCrop(256), Resize, as it does with LSUN bedrooms",
}

Opened = tuple[Sequence[str], Callable[[int], bytes]]
"""The names of the pictures in their order, and a function that reads the i-th."""


def lsun_church(config: LSUNChurchDataConfig, *, files: Mapping[str, OfficialFile] = LSUN_CHURCH) -> Source:
    """Return an official split in the order of its keys, unlabelled.

    Raises:
        UserError: the data are absent (and ``download`` is off); the LMDB cannot be read, or its reader is not installed.

    """
    root = Path(config.path).expanduser().resolve()
    name, archive = f"{CATEGORY}_{config.split}", files[config.split]
    # category and split are known from the name of the folder alone
    database, exported = root if root.name == f"{name}_lmdb" else root / f"{name}_lmdb", root / name
    if config.download and not exported.is_dir() and database != root:
        fetch_and_unpack(archive, root, member=database.name, wanted=[database / "data.mdb"])
    opened: Callable[[], Opened]
    if (database / "data.mdb").is_file():
        location, fingerprint, opened = database, _content(database, config), partial(_open_lmdb, database)
    elif exported.is_dir():
        tree = FolderTree(exported)
        files_of = cache(partial(_exported, tree))
        location, opened = exported, lambda: ([_key(parts) for parts in files_of()], lambda i: tree.read(files_of()[i]))
        fingerprint = tree.fingerprint(files_of, memory=Path(config.cache_dir) / "fingerprints")
    else:
        raise AbsentDataError(
            f"data.path: looked for {database / 'data.mdb'}, and for pictures in {exported}; "
            f"set data.download = true{archive.needs}, or unpack {archive.url} into {root}"
        )
    return Source(
        kind=config.kind,
        title="LSUN church_outdoor",
        location=str(location),
        split=config.split,
        size=config.size,
        fingerprint=fingerprint,
        recipe=f"lsun_church v1, split {config.split}, size {config.size}; {pictures_recipe(config.resize)}",
        published=PUBLISHED[config.resize],
        open=lambda: _pictures(*opened(), config),
    )


def _content(database: Path, config: LSUNChurchDataConfig) -> str:
    try:
        return content_hash([("", database / "data.mdb")], memory=Path(config.cache_dir) / "fingerprints")
    except OSError as error:
        raise unreadable(error, database) from error


def _open_lmdb(database: Path) -> Opened:
    try:
        import lmdb
    except ImportError as error:
        raise UserError(f"reading {database} needs the package lmdb: pip install 'gconv_gan[lsun]'") from error
    try:
        # without a lock file beside the data; a transaction belongs to one thread, so each read opens its own
        environment = lmdb.open(str(database), readonly=True, lock=False, readahead=False, create=False)
        with environment.begin() as transaction:
            keys = list(transaction.cursor().iternext(keys=True, values=False))
    except lmdb.Error as error:
        raise UserError(f"data.path: {database} is no whole LMDB: {error}; unpack it again") from error

    def read(i: int) -> bytes:
        with environment.begin() as transaction:
            return transaction.get(keys[i]) or b""

    return [key.decode() for key in keys], read


def _exported(tree: FolderTree) -> list[Parts]:
    found = sorted((parts for parts in tree.names() if is_picture(parts)), key=_key)
    if not found:
        raise UserError(f"data.path: {tree.root} holds no pictures")
    return found


def _key(parts: Parts) -> str:
    return parts[-1].partition(".")[0]


def _pictures(names: Sequence[str], read: Callable[[int], bytes], config: LSUNChurchDataConfig) -> Pictures:
    return Pictures((), Entries(len(names), lambda i: Entry(names[i], partial(_read, read, i, config), None)))


def _read(read: Callable[[int], bytes], i: int, config: LSUNChurchDataConfig) -> tuple[Picture, str]:
    return decode(read(i), size=config.size, resize=config.resize)
