"""LSUN church_outdoor: the official LMDB, its export, and the published preprocessing of each filter."""

import builtins
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from PIL import Image

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import LSUNChurchDataConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.sources.lsun import lsun_church
from tests.data.made import encoded, noise, official_file
from tests.data.web import Web

SHAPES = [(256, 341, 3), (300, 256, 3), (256, 256, 3), (257, 384, 3), (256, 301, 3)]
PICTURES = {hashlib.sha1(bytes([i])).hexdigest(): encoded(noise(i, *shape), "WEBP") for i, shape in enumerate(SHAPES)}


def put_lmdb(folder: Path) -> Path:
    """Write the database as LSUN does: the key is 40 hexadecimal digits, the value an encoded WebP."""
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, value in PICTURES.items():
            transaction.put(key.encode(), value)
    return folder


def put_export(folder: Path, *, flat: bool) -> None:
    """Write the pictures as ``data.py export`` of the official tools does."""
    for key, value in PICTURES.items():
        place = folder if flat else folder.joinpath(*key[:6])
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{key}.webp").write_bytes(value)


def config(root: Path, **changes: object) -> LSUNChurchDataConfig:
    return LSUNChurchDataConfig(path=str(root), **{"cache_dir": str(root.parent / "cache"), **changes})  # type: ignore[arg-type]


def reference(data: bytes, size: int, resample: Image.Resampling) -> np.ndarray:
    """The centre crop that StyleGAN's dataset_tool and latent-diffusion write with array slices, then PIL's resize."""
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    height, width, _ = image.shape
    crop = min(height, width)
    image = image[(height - crop) // 2 : (height + crop) // 2, (width - crop) // 2 : (width + crop) // 2]
    return np.asarray(Image.fromarray(image).resize((size, size), resample)).transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("resize", "resample", "whose"),
    [
        ("bicubic", Image.Resampling.BICUBIC, "latent-diffusion"),
        ("lanczos", Image.Resampling.LANCZOS, "StyleGAN3"),
        ("bilinear", Image.Resampling.BILINEAR, "mimicry"),
    ],
)
def test_pictures_are_in_the_order_of_their_keys_cropped_and_resized(
    tmp_path: Path, resize: str, resample: Image.Resampling, whose: str
) -> None:
    put_lmdb(tmp_path / "lsun/church_outdoor_train_lmdb")
    source = lsun_church(config(tmp_path / "lsun", resize=resize))
    assert whose in source.published
    pictures = source.open()
    assert pictures.classes == ()
    assert [(entry.name, entry.label) for entry in pictures.entries] == [(key, None) for key in sorted(PICTURES)]
    for entry in pictures.entries:
        picture, file_format = entry.read()
        assert file_format == "WEBP"
        np.testing.assert_array_equal(picture, reference(PICTURES[entry.name], 64, resample))


def test_the_database_its_own_folder_and_both_exports_give_the_same_data(tmp_path: Path) -> None:
    put_lmdb(tmp_path / "a/church_outdoor_train_lmdb")
    put_export(tmp_path / "b/church_outdoor_train", flat=True)
    put_export(tmp_path / "c/church_outdoor_train", flat=False)
    places = (tmp_path / "a", tmp_path / "a/church_outdoor_train_lmdb", tmp_path / "b", tmp_path / "c")
    sets = [open_dataset(config(place, cache_dir=str(tmp_path / f"cache{i}")), verify=True) for i, place in enumerate(places)]
    assert len({dataset.content_hash for dataset in sets}) == 1
    assert sets[0].manifest.formats == {"WEBP": 5}
    assert sets[0].title == "LSUN church_outdoor"


def test_filters_and_splits_have_caches_of_their_own(tmp_path: Path) -> None:
    for split in ("train", "val"):
        put_lmdb(tmp_path / f"lsun/church_outdoor_{split}_lmdb")
    settings: list[dict[str, object]] = [{}, {"resize": "lanczos"}, {"split": "val"}, {"size": 128}]
    assert len({lsun_church(config(tmp_path / "lsun", **setting)).recipe for setting in settings}) == 4


def test_nothing_is_written_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put_lmdb(tmp_path / "lsun/church_outdoor_train_lmdb")
    (folder / "lock.mdb").unlink()
    monkeypatch.chdir(tmp_path / "lsun")
    for entry in lsun_church(config(tmp_path / "lsun")).open().entries:
        entry.read()
    assert [path.name for path in folder.iterdir()] == ["data.mdb"]
    assert [path.name for path in (tmp_path / "lsun").iterdir()] == ["church_outdoor_train_lmdb"]


def test_another_category_or_split_is_not_taken_for_this_one(tmp_path: Path) -> None:
    for name in ("bedroom_train_lmdb", "church_outdoor_val_lmdb"):
        put_lmdb(tmp_path / name)
        with pytest.raises(UserError, match="looked for"):
            lsun_church(config(tmp_path / name))
    lsun_church(config(tmp_path / "church_outdoor_val_lmdb", split="val"))


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    folder = put_lmdb(tmp_path / "lsun/church_outdoor_train_lmdb")
    (folder / "data.mdb").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match=r"church_outdoor_train_lmdb is no whole LMDB: .*; unpack it again"):
        lsun_church(config(tmp_path / "lsun")).open()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_lmdb(tmp_path / "lsun/church_outdoor_train_lmdb")
    original = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "lmdb":
            raise ImportError(name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs the package lmdb: pip install 'gconv_gan\[lsun\]'"):
        lsun_church(config(tmp_path / "lsun")).open()


def test_download_unpacks_the_database(tmp_path: Path, web: Web) -> None:
    folder = put_lmdb(tmp_path / "made/church_outdoor_val_lmdb")
    with zipfile.ZipFile(web.folder / "church_outdoor_val_lmdb.zip", "w") as file:
        file.write(folder / "data.mdb", "church_outdoor_val_lmdb/data.mdb")
    files = {"val": official_file(web, "church_outdoor_val_lmdb.zip")}
    for _ in range(2):
        assert len(lsun_church(config(tmp_path / "new", split="val", download=True), files=files).open().entries) == 5
    assert len(web.requests) == 1
