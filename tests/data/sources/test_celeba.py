"""CelebA's official files: splits, labels, and the crop of mimicry and torchvision."""

import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import CelebADataConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.datasets import DATASETS, require_labels
from gconv_gan.data.sources.celeba import CELEBA, celeba
from gconv_gan.data.sources.official import OfficialFile
from tests.data.made import encoded, md5_of, noise, official_file, zipped
from tests.data.web import Web

NAMES = [f"{i:06d}.jpg" for i in range(1, 7)]
CODES = [0, 0, 0, 1, 2, 2]
PEOPLE = [2880, 2937, 2880, 90, 7, 90]
SMILING = [-1, 1, 1, -1, 1, -1]
Files = dict[str, OfficialFile]


def picture(i: int) -> bytes:
    return encoded(noise(i, 218, 178, 3), "JPEG")


@pytest.fixture
def faces(tmp_path: Path) -> tuple[Path, Files]:
    """The official lists and the unpacked images, in torchvision's folder celeba."""
    base = tmp_path / "root" / "celeba"
    (base / "img_align_celeba").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        (base / "img_align_celeba" / name).write_bytes(picture(i))
    lines = list(zip(NAMES, CODES, PEOPLE, SMILING, strict=True))
    (base / "list_eval_partition.txt").write_text("".join(f"{name} {code}\n" for name, code, _, _ in lines))
    (base / "identity_CelebA.txt").write_text("".join(f"{name} {person}\n" for name, _, person, _ in lines))
    rows = "".join(f"{name} {-smile:2d} {smile:2d}\n" for name, _, _, smile in lines)
    (base / "list_attr_celeba.txt").write_text(f"{len(NAMES)}\nMale Smiling \n{rows}")
    files = {name: replace(file, checksum=f"md5:{md5_of(base / name)}") for name, file in CELEBA.items() if (base / name).exists()}
    return tmp_path / "root", {**files, "img_align_celeba.zip": CELEBA["img_align_celeba.zip"]}


def pack(root: Path, files: Files) -> Files:
    """Replace the folder of images by the zip."""
    base = root / "celeba"
    zipped(base / "img_align_celeba", base / "img_align_celeba.zip", under="img_align_celeba/")
    shutil.rmtree(base / "img_align_celeba")
    return {
        **files,
        "img_align_celeba.zip": replace(files["img_align_celeba.zip"], checksum=f"md5:{md5_of(base / 'img_align_celeba.zip')}"),
    }


def config(root: Path, **changes: object) -> CelebADataConfig:
    return CelebADataConfig(path=str(root), cache_dir=str(root.parent / "cache"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("split", "chosen"), [("train", [0, 1, 2]), ("valid", [3]), ("test", [4, 5]), ("all", [0, 1, 2, 3, 4, 5])])
@pytest.mark.parametrize("packed", [False, True])
def test_the_official_splits(faces: tuple[Path, Files], split: str, chosen: list[int], packed: bool) -> None:
    root, files = faces
    if packed:
        files = pack(root, files)
    pictures = celeba(config(root, split=split), files=files).open()
    assert pictures.classes == ()
    assert [(entry.name, entry.label) for entry in pictures.entries] == [(NAMES[i], None) for i in chosen]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_crop_is_torchvisions_centre_crop_and_resize(faces: tuple[Path, Files], size: int) -> None:
    root, files = faces
    source = celeba(config(root, size=size), files=files)
    reference = v2.Compose([v2.CenterCrop(178), v2.Resize(size)])  # bilinear and antialiased on a PIL image
    for i, entry in enumerate(source.open().entries):
        expected = reference(Image.open(io.BytesIO(picture(i))))
        np.testing.assert_array_equal(entry.read()[0], np.asarray(expected).transpose(2, 0, 1))
    assert f"CenterCrop(178), Resize({size})" in source.published


def test_labels_by_person(faces: tuple[Path, Files]) -> None:
    root, files = faces
    pictures = celeba(config(root, labels="identity"), files=files).open()
    assert pictures.classes == ("person 2880", "person 2937")  # the persons of the split: the others have no image in it
    assert [entry.label for entry in pictures.entries] == [0, 1, 0]


def test_labels_by_attribute(faces: tuple[Path, Files]) -> None:
    root, files = faces
    for attribute, expected in (("Smiling", [0, 1, 1, 0, 1, 0]), ("Male", [1, 0, 0, 1, 0, 1])):
        pictures = celeba(config(root, labels=attribute, split="all"), files=files).open()
        assert pictures.classes == (f"not {attribute}", attribute)
        assert [entry.label for entry in pictures.entries] == expected
    with pytest.raises(UserError, match=r"data\.labels: CelebA has no attribute smiling; did you mean Smiling\?"):
        celeba(config(root, labels="smiling"), files=files).open()
    with pytest.raises(UserError, match=r"no attribute xyz; there are: none, identity, Male, Smiling"):
        celeba(config(root, labels="xyz"), files=files).open()


def test_a_conditional_model_is_told_to_choose_labels(faces: tuple[Path, Files], monkeypatch: pytest.MonkeyPatch) -> None:
    root, files = faces
    monkeypatch.setitem(DATASETS.data, "celeba", lambda c: celeba(c, files=files))
    with pytest.raises(
        UserError, match=r"CelebA .* is unlabelled; set data\.labels to identity or to an attribute such as Smiling, or set"
    ):
        require_labels(open_dataset(config(root)))
    require_labels(open_dataset(config(root, labels="identity")))


def test_a_list_that_is_not_the_official_one_is_refused(faces: tuple[Path, Files]) -> None:
    root, files = faces
    (root / "celeba/list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(UserError, match=r"list_eval_partition\.txt is not the official file"):
        celeba(config(root), files=files)


def test_a_zip_that_is_not_the_official_one_is_refused_and_the_quota_page_explained(faces: tuple[Path, Files]) -> None:
    root, files = faces
    pack(root, files)
    archive = root / "celeba/img_align_celeba.zip"
    source = celeba(config(root), files=files)
    with pytest.raises(
        UserError, match=r"img_align_celeba\.zip is not the official file: its MD5 is .*, not 00d2c5bc6d35e252742224ab0c1e8fcb"
    ):
        source.open()
    archive.write_text("<html><head><title>Google Drive - Quota exceeded</title></head></html>")
    with pytest.raises(UserError, match=r"img_align_celeba\.zip is no data but Google Drive's page that its download quota is used up"):
        celeba(config(root), files=files)


def test_missing_images_are_named(faces: tuple[Path, Files]) -> None:
    root, files = faces
    (root / "celeba/img_align_celeba/000002.jpg").unlink()
    source = celeba(config(root, split="valid"), files=files)
    assert len(source.open().entries) == 1
    with pytest.raises(UserError, match=r"000002\.jpg"):
        celeba(config(root), files=files).open()
    packed = pack(root, files)
    with pytest.raises(UserError, match=r"lacks 1 of the 3 images of the split; the first is img_align_celeba/000002\.jpg"):
        celeba(config(root), files=packed).open()


def test_absent_images_may_be_a_zip_or_a_folder(faces: tuple[Path, Files]) -> None:
    root, files = faces
    shutil.rmtree(root / "celeba/img_align_celeba")
    with pytest.raises(
        UserError, match=r"zip \(or the folder img_align_celeba unpacked from it\), which does not .* = true \(1\.5 GB in all\)"
    ):
        celeba(config(root), files=files)


def test_download_fetches_only_what_is_needed(faces: tuple[Path, Files], tmp_path: Path, web: Web) -> None:
    root, files = faces
    pack(root, files)
    for path in (root / "celeba").iterdir():
        shutil.copy(path, web.folder)
    served = {name: official_file(web, name) for name in files}
    celeba(config(tmp_path / "new", download=True, labels="identity"), files=served).open()
    found = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert found == [".download.lock", "identity_CelebA.txt", "img_align_celeba.zip", "list_eval_partition.txt"]
    assert zipfile.is_zipfile(tmp_path / "new/img_align_celeba.zip")
