"""Tiny-ImageNet in its official layout, and the real subset if it lies beside the repository."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import TinyImageNetDataConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.sources.tiny_imagenet import tiny_imagenet
from tests.data.made import noise, official_file, save, zipped
from tests.data.web import Web

ARCHIVE = Path(__file__).parents[3] / "../shared/data/tiny-imagenet-20.zip"
WNIDS = ["n02124075", "n01443537", "n03126707", "n02012849"]  # not sorted, as in the official list
WORDS = (
    "n00001740\tentity\nn01443537\tgoldfish, Carassius auratus\nn02012849\tcrane\nn02124075\tEgyptian cat\n"
    "n03126707\tcrane\nn02814860\tbeacon, lighthouse\n"
)
VAL = [("val_0.JPEG", "n03126707"), ("val_2.JPEG", "n01443537"), ("val_1.JPEG", "n02124075"), ("val_10.JPEG", "n02012849")]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Four classes of three training images, four validation and two test images, one of them grey."""
    root = tmp_path / "tiny-imagenet-200"
    for number, wnid in enumerate(WNIDS):
        for i in (0, 2, 10):
            shape = (64, 64) if (number, i) == (1, 2) else (64, 64, 3)
            save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", noise(100 * number + i, *shape))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
    for i, (name, _) in enumerate(VAL):
        save(root / "val" / "images" / name, noise(1000 + i, 64, 64, 3))
    for i in range(2):
        save(root / "test" / "images" / f"test_{i}.JPEG", noise(2000 + i, 64, 64, 3))
    (root / "val" / "val_annotations.txt").write_text("".join(f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in VAL))
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (root / "words.txt").write_text(WORDS)
    return root


def config(path: Path, **changes: object) -> TinyImageNetDataConfig:
    return TinyImageNetDataConfig(path=str(path), cache_dir=str(path.parent / "cache"), **changes)  # type: ignore[arg-type]


def pixels(path: Path) -> np.ndarray:
    """What Pillow and ``convert("RGB")`` give: what everybody trains on."""
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


def test_train_is_in_the_order_of_sorted_wnids_with_readable_names(tiny: Path) -> None:
    source = tiny_imagenet(config(tiny))
    assert source.title == "Tiny-ImageNet (4 of its 200 classes)"
    pictures = source.open()
    assert pictures.classes == ("goldfish", "crane (n02012849)", "Egyptian cat", "crane (n03126707)")
    assert [(entry.name, entry.label) for entry in pictures.entries] == [
        (f"train/{wnid}/images/{wnid}_{i}.JPEG", label) for label, wnid in enumerate(sorted(WNIDS)) for i in (0, 10, 2)
    ]
    for entry in pictures.entries:
        np.testing.assert_array_equal(entry.read()[0], pixels(tiny / entry.name))


def test_val_takes_its_classes_from_its_annotations_not_from_folders(tiny: Path) -> None:
    pictures = tiny_imagenet(config(tiny, split="val")).open()
    assert pictures.classes == tiny_imagenet(config(tiny)).open().classes
    assert [entry.name for entry in pictures.entries] == [f"val/images/{name}" for name, _ in VAL]
    assert [entry.label for entry in pictures.entries] == [sorted(WNIDS).index(wnid) for _, wnid in VAL]


def test_the_test_split_is_unlabelled(tiny: Path) -> None:
    pictures = tiny_imagenet(config(tiny, split="test")).open()
    assert pictures.classes == ()
    assert [(entry.name, entry.label) for entry in pictures.entries] == [(f"test/images/test_{i}.JPEG", None) for i in range(2)]


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_zip_and_the_folder_give_the_same_data(tiny: Path, tmp_path: Path, split: str) -> None:
    packed = zipped(tiny, tmp_path / "z" / "tiny-imagenet-200.zip", under="tiny-imagenet-200/")
    places = (tiny, tiny.parent, packed, packed.parent)
    assert len({open_dataset(config(place, split=split)).content_hash for place in places}) == 1


def test_other_sizes_are_resized_and_have_no_published_equal(tiny: Path) -> None:
    for size in (32, 128):
        source = tiny_imagenet(config(tiny, size=size))
        expected = Image.fromarray(pixels(tiny / "train/n01443537/images/n01443537_0.JPEG").transpose(1, 2, 0)).resize(
            (size, size), Image.Resampling.BICUBIC
        )
        np.testing.assert_array_equal(source.open().entries[0].read()[0], np.asarray(expected).transpose(2, 0, 1))
        assert source.published.startswith("none")
    assert "StudioGAN" in tiny_imagenet(config(tiny)).published


def test_without_words_the_classes_are_wnids(tiny: Path) -> None:
    (tiny / "words.txt").unlink()
    assert tiny_imagenet(config(tiny)).open().classes == tuple(sorted(WNIDS))


def test_lists_and_images_that_do_not_fit_are_named(tiny: Path) -> None:
    (tiny / "val/images/val_2.JPEG").rename(tiny / "val/images/val_3.JPEG")
    with pytest.raises(UserError, match=r"val_annotations\.txt lists val_2\.JPEG, which val/images lacks \(and 1 more such\)"):
        tiny_imagenet(config(tiny, split="val"))
    shutil.rmtree(tiny / "train/n03126707")
    with pytest.raises(UserError, match=r"wnids\.txt lists n03126707, which the folders of train lacks"):
        tiny_imagenet(config(tiny))
    (tiny / "val/val_annotations.txt").unlink()
    with pytest.raises(UserError, match=r"has no val/val_annotations\.txt, without which val has no classes"):
        tiny_imagenet(config(tiny, split="val"))


def test_val_of_a_class_that_is_not_listed_is_refused(tiny: Path) -> None:
    (tiny / "wnids.txt").write_text("\n".join(WNIDS[:3]))
    with pytest.raises(UserError, match=r"val_annotations\.txt has the class n02012849, which is not in wnids\.txt"):
        tiny_imagenet(config(tiny, split="val"))


def test_a_changed_label_changes_the_content_hash(tiny: Path) -> None:
    before = tiny_imagenet(config(tiny, split="val")).fingerprint
    text = (tiny / "val/val_annotations.txt").read_text()
    (tiny / "val/val_annotations.txt").write_text(text.replace("val_0.JPEG\tn03126707", "val_0.JPEG\tn01443537"))
    assert tiny_imagenet(config(tiny, split="val")).fingerprint != before


def test_a_zip_without_the_list_of_classes_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "p/a/1.png", noise(0, 8, 8, 3))
    other = zipped(tmp_path / "p", tmp_path / "p.zip")
    with pytest.raises(UserError, match=r"has no wnids\.txt: it is not Tiny-ImageNet in the official layout"):
        tiny_imagenet(config(other))


def test_download(tiny: Path, tmp_path: Path, web: Web) -> None:
    zipped(tiny, web.folder / "tiny-imagenet-200.zip", under="tiny-imagenet-200/")
    source = tiny_imagenet(config(tmp_path / "new", download=True), archive=official_file(web, "tiny-imagenet-200.zip"))
    assert len(source.open().entries) == 12


@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE} is not here")
@pytest.mark.parametrize(("split", "count"), [pytest.param("train", 500, marks=pytest.mark.slow), ("val", 50)])
def test_the_real_subset_of_twenty_classes(tmp_path: Path, split: str, count: int) -> None:
    dataset = open_dataset(TinyImageNetDataConfig(path=str(ARCHIVE), split=split, cache_dir=str(tmp_path)), verify=True)  # type: ignore[arg-type]
    assert dataset.title == "Tiny-ImageNet (20 of its 200 classes)"
    assert dataset.manifest.class_counts == (count,) * 20
    assert dataset.manifest.formats == {"JPEG": 20 * count}
    assert dataset.classes[:3] == ("goldfish", "brown bear", "guinea pig")
    assert dataset.manifest.skipped == ()
