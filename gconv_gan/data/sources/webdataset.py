"""WebDataset shards: plain tar files in which consecutive members of one name make a sample, ``000001.jpg``, ``000001.cls``.

The convention is WebDataset's: the key is the path up to the first dot of the file's name, what follows is the kind. A sample has one
picture, and a class as text in ``cls`` or as ``label`` in ``json``; without either in every sample the set is unlabelled. The file
``classnames.txt`` beside the shards names the classes, one a line. The shards keep the order of their names, the samples that of the tar.
A shard's headers are read once and the offset of each picture is stored; every picture is then read by one random access. The order of
training is therefore exact, and the shards may be distributed over several disks.
"""

import contextlib
import glob
import hashlib
import io
import itertools
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from tqdm import tqdm

from gconv_gan.config.errors import AbsentDataError, UserError
from gconv_gan.config.sections.data import WebDatasetDataConfig
from gconv_gan.data.class_names import listed
from gconv_gan.data.reading.archives import is_hidden, is_picture, parts_of, printable, require_file, shown, tar_members, unreadable
from gconv_gan.data.reading.fingerprint import content_hash
from gconv_gan.data.reading.pictures import EXTENSIONS, PICTURES_RECIPE, DamagedImageError, decode
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source
from gconv_gan.runtime.files.atomic import write_bytes

PLACES = np.dtype([("shard", "<i4"), ("offset", "<i8"), ("size", "<i8"), ("label", "<i8")])
"""Shard, offset and size of a picture; label -1: none."""
CLASS_NAMES = "classnames.txt"
MAX_CLASSES = 100_000
"""A larger class number is an identifier of the picture, or an error; ImageNet-21k has 21,841 classes."""

Index = Shaped[np.ndarray, " n"]


def webdataset(config: WebDatasetDataConfig) -> Source:
    """Return the pictures of the shards that ``config.path`` names.

    Raises:
        UserError: no such shards, a compressed or damaged one, a sample without exactly one picture, or classes that do not fit.

    """
    shards = expand(config.path)
    memory = Path(config.cache_dir)
    try:
        fingerprint = content_hash([(shard.name, shard) for shard in shards], memory=memory / "fingerprints")
    except OSError as error:
        raise unreadable(error, shards[0]) from error
    title = re.sub(r"[-_.]?\d+$", "", shards[0].stem) or shards[0].parent.name
    return Source(
        kind=config.kind,
        title=title,
        location=f"{shards[0]} … {shards[-1].name} ({len(shards)} shards)" if len(shards) > 1 else str(shards[0]),
        split=None,
        size=config.size,
        fingerprint=fingerprint,
        recipe=f"webdataset v1, size {config.size}, {_names_recipe(shards)}; {PICTURES_RECIPE}",
        published="none: your own pictures",
        open=lambda: _open(shards, index_of(shards, memory / "shard_index_v2" / f"{fingerprint}.npy"), config.size),
        may_skip=config.damaged == "skip",
        storage=config.storage,
        window=config.shuffle_shards,
    )


# --- which shards ----------------------------------------------------------------------------------------------------------------


def expand(pattern: str) -> list[Path]:
    """Return the files of "a-{000000..000007}.tar", "disk{0,1}/*.tar", a folder, or several of these with "::" between, sorted by name.

    Raises:
        UserError: a name of the pattern is absent or no file, or two shards have one name.

    """
    found: list[Path] = []
    for part in pattern.split("::"):
        for name in braces(str(Path(part).expanduser())):
            path = Path(name)
            matches = sorted(path.glob("*.tar")) if path.is_dir() else [Path(match) for match in sorted(glob.glob(name))]
            if not matches:
                raise AbsentDataError(
                    f"data.path: {name} {'holds no .tar files' if path.is_dir() else 'does not exist'}; {part} does not name a complete set"
                )
            found += matches
    found.sort(key=lambda path: path.name)
    for first, second in itertools.pairwise(found):
        if first.name == second.name:
            raise UserError(f"data.path: {first} and {second} have the same name: shards are ordered by their names, so rename one")
    for path in found:
        require_file(path)
    return [path.resolve() for path in found]


def braces(text: str) -> Iterator[str]:
    """Yield the shell's brace expansion of "{a,b}" and "{08..11}"; leading zeros are kept."""
    match = re.search(r"\{([^{}]*)\}", text)
    if match is None:
        yield text
        return
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if numbers:
        low, high = numbers.groups()
        width = max(len(low), len(high)) if low.startswith("0") or high.startswith("0") else 0
        choices = [f"{i:0{width}d}" for i in range(int(low), int(high) + 1)]
    else:
        choices = match[1].split(",")
    for choice in choices:
        yield from braces(text[: match.start()] + choice + text[match.end() :])


# --- where the pictures lie ------------------------------------------------------------------------------------------------------


def index_of(shards: Sequence[Path], stored: Path) -> Index:
    """Return ``PLACES`` of all pictures, from the file ``stored`` if it exists."""
    with contextlib.suppress(FileNotFoundError, ValueError, EOFError):  # an incomplete file is written again
        index: Index = np.load(stored, mmap_mode="r", allow_pickle=False)
        if index.dtype == PLACES:
            return index
    rows = [row for i, shard in enumerate(tqdm(shards, desc="indexing shards", disable=None)) for row in _places(i, shard)]
    index = np.array(rows, dtype=PLACES)
    unlabelled = index["label"] < 0
    if unlabelled.any() and not unlabelled.all():
        first = index[unlabelled.argmax()]
        raise UserError(
            f"data.path: {shards[first['shard']]}: {_name(shards[first['shard']], int(first['offset']))} has no class while others have one"
        )
    buffer = io.BytesIO()
    np.save(buffer, index)
    stored.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(stored, buffer.getvalue())
    return index


def _places(number: int, shard: Path) -> Iterator[tuple[int, int, int, int]]:
    with shard.open("rb") as file:
        for key, sample in itertools.groupby(_files(shard), key=lambda member: _split(member[0])[0]):
            kinds = {_split(name)[1].lower(): (offset, size) for name, offset, size in sample}
            pictures = [place for kind, place in kinds.items() if f".{kind}" in EXTENSIONS]
            if len(pictures) != 1:
                raise UserError(
                    f"data.path: {shard}: the sample {printable(key)} has {len(pictures)} pictures ({printable(', '.join(kinds))}), not one"
                )
            yield number, *pictures[0], _label(file, kinds, shard, key)


def _files(shard: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (path, offset, size) of a shard's files in their order, but for hidden ones."""
    seen = set()
    for member in tar_members(shard):
        parts = parts_of(member.name)
        if not parts or member.isdir() or any(map(is_hidden, parts)):
            continue
        if parts in seen:
            raise UserError(f"data.path: {shard} holds {shown(parts)} twice; remove one of them")
        seen.add(parts)
        if member.isfile():
            yield "/".join(parts), member.offset_data, member.size
        elif is_picture(parts):
            raise UserError(f"data.path: {shard}: {shown(parts)} is a link or a special file; pack the picture itself")


def _split(name: str) -> tuple[str, str]:
    """Return ("train/0001", "seg.png") of "train/0001.seg.png"."""
    folder, slash, file = name.rpartition("/")
    stem, _, kind = file.partition(".")
    return folder + slash + stem, kind


def _label(file: io.BufferedReader, kinds: dict[str, tuple[int, int]], shard: Path, key: str) -> int:
    """Return the class of a sample, -1 where it has none."""
    kind = "cls" if "cls" in kinds else "json"
    if kind not in kinds:
        return -1
    offset, size = kinds[kind]
    content = os.pread(file.fileno(), size, offset)
    try:
        label = int(content) if kind == "cls" else json.loads(content).get("label", -1)
    except (ValueError, AttributeError) as error:
        raise UserError(f"data.path: {shard}: {printable(key)}.{kind} holds no class but {content[:40]!r}") from error
    if type(label) is not int or not -1 <= label < MAX_CLASSES:  # JSON's true is an int to isinstance
        text = json.dumps(label)
        text = text if len(text) <= 40 else f"{text[:40]}…"
        raise UserError(f"data.path: {shard}: the class in {printable(key)}.{kind} is {text}, no number from 0 to {MAX_CLASSES - 1:,}")
    return label


# --- classes ---------------------------------------------------------------------------------------------------------------------


def _class_names(shards: Sequence[Path]) -> list[str] | None:
    for folder in (shards[0].parent, shards[0].parent.parent):
        if (folder / CLASS_NAMES).is_file():
            names = [line.strip() for line in (folder / CLASS_NAMES).read_text().splitlines() if line.strip()]
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise UserError(f"data.path: {folder / CLASS_NAMES} gives several classes the name {listed(twice)}; each needs its own")
            return names
    return None


def _names_recipe(shards: Sequence[Path]) -> str:
    names = _class_names(shards)
    return "classes by number" if names is None else f"class names {hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]}"


def _classes(shards: Sequence[Path], index: Index) -> tuple[str, ...]:
    if (index["label"] < 0).all():
        return ()
    largest = int(index["label"].max())
    names = _class_names(shards)
    if names is None:
        return tuple(str(i) for i in range(largest + 1))
    if largest >= len(names):
        raise UserError(f"data.path: {CLASS_NAMES} beside {shards[0]} names {len(names)} classes, but there is a class {largest}")
    return tuple(names)


# --- pictures --------------------------------------------------------------------------------------------------------------------


def _open(shards: Sequence[Path], index: Index, size: int) -> Pictures:
    def entry(i: int) -> Entry:
        number, offset, length, label = index[i].tolist()
        shard = shards[number]
        return Entry(f"{shard.name}: {_name(shard, offset)}", partial(_read, shard, offset, length, size), None if label < 0 else label)

    counts = np.bincount(index["shard"], minlength=len(shards))
    return Pictures(_classes(shards, index), Entries(len(index), entry), tuple(counts.tolist()))


def _name(shard: Path, offset: int) -> str:
    """Return the name in the header before a member's content."""
    return printable(tarfile.TarInfo.frombuf(_bytes(shard, offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE), "utf-8", "surrogateescape").name)


def _read(shard: Path, offset: int, length: int, size: int) -> tuple[Picture, str]:
    return decode(_bytes(shard, offset, length), size=size)


def _bytes(shard: Path, offset: int, length: int) -> bytes:
    try:
        with shard.open("rb") as file:
            data = os.pread(file.fileno(), length, offset)
    except OSError as error:
        raise unreadable(error, shard) from error
    if len(data) != length:
        raise DamagedImageError("the tar ends inside it")
    return data
