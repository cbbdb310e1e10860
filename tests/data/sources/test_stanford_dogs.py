"""Stanford Dogs: tars read in place, or unpacked, with MATLAB's lists."""

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import StanfordDogsDataConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.datasets import DATASETS
from gconv_gan.data.sources.official import OfficialFile
from gconv_gan.data.sources.stanford_dogs import STANFORD_DOGS, stanford_dogs
from tests.data.made import md5_of, noise, official_file, save
from tests.data.web import Web

LISTS = {
    "train": [("n02085620-Chihuahua/n02085620_5927.jpg", 1), ("n02089078-black-and-tan_coonhound/n02089078_1.jpg", 2)],
    "test": [("n02089078-black-and-tan_coonhound/n02089078_7.jpg", 2), ("n02085620-Chihuahua/n02085620_2650.jpg", 1)],
}
Files = dict[str, OfficialFile]


def put_unpacked(root: Path) -> Path:
    """Write Images and the lists, as the archives unpack."""
    root.mkdir(parents=True, exist_ok=True)
    for i, (name, _) in enumerate(LISTS["train"] + LISTS["test"]):
        save(root / "Images" / name, noise(i, 90, 120, 3))
    for split, rows in LISTS.items():
        cells = np.empty((len(rows), 1), dtype=object)
        cells[:, 0] = [name for name, _ in rows]
        labels = np.array([[label] for _, label in rows], dtype=np.float64)
        savemat(root / f"{split}_list.mat", {"file_list": cells, "annotation_list": cells, "labels": labels})
    return root


def put_tars(root: Path, unpacked: Path) -> Files:
    root.mkdir(parents=True)
    with tarfile.open(root / "images.tar", "w") as tar:
        tar.add(unpacked / "Images", "Images")
    with tarfile.open(root / "lists.tar", "w") as tar:
        for split in LISTS:
            tar.add(unpacked / f"{split}_list.mat", f"./{split}_list.mat")
    return {key: replace(file, checksum=f"md5:{md5_of(root / file.name)}") for key, file in STANFORD_DOGS.items()}


def config(root: Path, **changes: object) -> StanfordDogsDataConfig:
    values = {"size": 64, "cache_dir": str(root.parent / "cache"), **changes}
    return StanfordDogsDataConfig(path=str(root), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_order_labels_and_breeds_of_the_lists(tmp_path: Path, packed: bool, split: str) -> None:
    root = put_unpacked(tmp_path / "unpacked")
    files = put_tars(tmp_path / "packed", root)
    pictures = stanford_dogs(config(tmp_path / "packed" if packed else root, split=split), files=files).open()
    assert pictures.classes == ("Chihuahua", "black-and-tan coonhound")
    assert [(entry.name, entry.label) for entry in pictures.entries] == [(name, label - 1) for name, label in LISTS[split]]
    image = Image.open(root / "Images" / LISTS[split][0][0]).crop((15, 0, 105, 90)).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pictures.entries[0].read()[0], np.asarray(image).transpose(2, 0, 1))


def test_archives_unpacked_into_folders_of_their_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put_unpacked(tmp_path / "a")
    files = put_tars(tmp_path / "b", root)
    (tmp_path / "c/images").mkdir(parents=True)
    (tmp_path / "c/lists").mkdir()
    (root / "Images").rename(tmp_path / "c/images/Images")
    for split in LISTS:
        (root / f"{split}_list.mat").rename(tmp_path / f"c/lists/{split}_list.mat")
    monkeypatch.setitem(DATASETS.data, "stanford_dogs", lambda c: stanford_dogs(c, files=files))
    assert open_dataset(config(tmp_path / "b")).content_hash == open_dataset(config(tmp_path / "c")).content_hash


def test_other_archives_than_the_published_are_refused(tmp_path: Path) -> None:
    files = put_tars(tmp_path / "packed", put_unpacked(tmp_path / "unpacked"))
    with pytest.raises(UserError, match=r"lists\.tar is not the official file: its MD5 is .*, not edbb9f16854ec66506b5f09b583e0656"):
        stanford_dogs(config(tmp_path / "packed"))
    source = stanford_dogs(config(tmp_path / "packed"), files={**files, "images": STANFORD_DOGS["images"]})
    with pytest.raises(UserError, match=r"images\.tar is not the official file: its MD5 is .*, not 1bb1f2a596ae7057f99d7d75860002ef"):
        source.open()


def test_missing_images_are_named(tmp_path: Path) -> None:
    root = put_unpacked(tmp_path / "unpacked")
    (root / "Images" / LISTS["train"][1][0]).unlink()
    files = put_tars(tmp_path / "packed", root)
    with pytest.raises(UserError, match=r"lacks 1 of the 2 listed images; the first is n02089078-black-and-tan_coonhound/n02089078_1\.jpg"):
        stanford_dogs(config(tmp_path / "packed"), files=files).open()


def test_download(tmp_path: Path, web: Web) -> None:
    files = put_tars(tmp_path / "packed", put_unpacked(tmp_path / "unpacked"))
    for file in files.values():
        (tmp_path / "packed" / file.name).rename(web.folder / file.name)
    served = {key: official_file(web, file.name) for key, file in files.items()}
    for _ in range(2):
        assert len(stanford_dogs(config(tmp_path / "new", download=True), files=served).open().entries) == 2
    assert len(web.requests) == 2
