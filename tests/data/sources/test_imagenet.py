"""ImageNet folders: val in class folders, or flat with either of its official annotations."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import ImageNetDataConfig
from gconv_gan.data.sources.imagenet import imagenet
from tests.data.made import noise, save

WNIDS = ["n01440764", "n02012849", "n03126707"]
CLASSES = ("tench", "crane (n02012849)", "crane (n03126707)")
VAL = ["n03126707", "n01440764", "n03126707", "n02012849"]  # of images 1, 2, 3, 4
MAPPING = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"


def val_name(i: int) -> str:
    return f"ILSVRC2012_val_{i:08d}.JPEG"


def put(base: Path, *, flat: bool) -> Path:
    """Write train with two images a class, and val."""
    for number, wnid in enumerate(WNIDS):
        for i in (3, 20):
            save(base / "train" / wnid / f"{wnid}_{i}.JPEG", noise(10 * number + i, 20, 30, 3))
    for i, wnid in enumerate(VAL, start=1):
        save(base / "val" / ("" if flat else wnid) / val_name(i), noise(500 + i, 20, 30, 3))
    return base


def put_devkit(root: Path) -> None:
    """Write the development kit's two files: numbers of another order than the wnids, and parents that are no classes."""
    synsets = [
        (2, "n01440764", "tench, Tinca tinca", 0),
        (3, "n02012849", "crane", 0),
        (1, "n03126707", "crane", 0),
        (4, "n00001740", "entity", 2),
    ]
    kinds = [
        ("ILSVRC2012_ID", "O"),
        ("WNID", "O"),
        ("words", "O"),
        ("gloss", "O"),
        ("num_children", "O"),
        ("children", "O"),
        ("wordnet_height", "O"),
        ("num_train_images", "O"),
    ]
    rows = np.empty((len(synsets), 1), dtype=kinds)
    for row, (number, wnid, words, children) in zip(rows, synsets, strict=True):
        row[0] = (np.uint8(number), wnid, words, "a gloss", np.uint8(children), np.zeros((1, children)), np.uint8(1), np.uint16(1300))
    folder = root / "ILSVRC2012_devkit_t12/data"
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": rows})
    number_of = {wnid: number for number, wnid, _, _ in synsets}
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number_of[wnid]}\n" for wnid in VAL))


def put_solution(root: Path) -> None:
    rows = "".join(f"ILSVRC2012_val_{i:08d},{VAL[i - 1]} 85 1 499 272 {VAL[i - 1]} 1 1 2 2 \n" for i in (2, 1, 4, 3))
    (root / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{rows}")


def config(root: Path, **changes: object) -> ImageNetDataConfig:
    return ImageNetDataConfig(path=str(root), cache_dir=str(root.parent / "cache"), **{"size": 8, **changes})  # type: ignore[arg-type]


def found(source: object) -> list[tuple[str, int | None]]:
    return [(entry.name, entry.label) for entry in source.open().entries]  # type: ignore[attr-defined]


def test_train_is_in_the_order_of_classes_and_names(tmp_path: Path) -> None:
    root = put(tmp_path / "i", flat=False)
    (root / "LOC_synset_mapping.txt").write_text(MAPPING)
    source = imagenet(config(root))
    assert source.title == "ImageNet (3 of its 1000 classes)"
    assert source.open().classes == CLASSES
    assert found(source) == [(f"{wnid}/{wnid}_{i}.JPEG", label) for label, wnid in enumerate(WNIDS) for i in (20, 3)]


def test_val_in_class_folders(tmp_path: Path) -> None:
    source = imagenet(config(put(tmp_path / "i", flat=False), split="val"))
    assert source.open().classes == tuple(WNIDS)  # without a list they are called by their wnids
    assert found(source) == [(f"{WNIDS[label]}/{val_name(i)}", label) for label, i in ((0, 2), (1, 4), (2, 1), (2, 3))]


@pytest.mark.parametrize("annotations", ["devkit", "solution"])
@pytest.mark.parametrize("kaggle", [False, True])
def test_a_flat_val_takes_its_classes_from_the_official_annotations(tmp_path: Path, annotations: str, kaggle: bool) -> None:
    root = tmp_path / "i"
    put(root.joinpath("ILSVRC", "Data", "CLS-LOC") if kaggle else root, flat=True)
    if annotations == "devkit":
        put_devkit(root)
    else:
        put_solution(root)
        (root / "LOC_synset_mapping.txt").write_text(MAPPING)
    source = imagenet(config(root, split="val"))
    assert source.open().classes == CLASSES
    assert found(source) == [(val_name(i), WNIDS.index(wnid)) for i, wnid in enumerate(VAL, start=1)]


def test_a_flat_val_without_annotations_says_what_to_unpack(tmp_path: Path) -> None:
    root = put(tmp_path / "i", flat=True)
    with pytest.raises(
        UserError, match=r"val has no class folders, and neither LOC_val_solution\.csv nor .*\(ILSVRC2012_devkit_t12\.tar\.gz\)"
    ):
        imagenet(config(root, split="val"))
    put_solution(root)
    save(root / "val" / val_name(5), noise(0, 20, 30, 3))
    with pytest.raises(UserError, match=r"LOC_val_solution\.csv does not say the class of val/ILSVRC2012_val_00000005\.JPEG"):
        imagenet(config(root, split="val"))


def test_train_without_class_folders_and_strays_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a/train/1.JPEG", noise(0, 8, 8, 3))
    with pytest.raises(UserError, match="has no class folders: unpack each class's archive into a folder of its own"):
        imagenet(config(tmp_path / "a"))
    root = put(tmp_path / "b", flat=False)
    save(root / "train/stray.JPEG", noise(0, 8, 8, 3))
    with pytest.raises(UserError, match=r"stray\.JPEG lies in no class folder"):
        imagenet(config(root))


def test_a_subset_keeps_the_numbers_of_train_and_an_unknown_class_is_refused(tmp_path: Path) -> None:
    root = put(tmp_path / "i", flat=False)
    (root / "val/n01440764").rename(tmp_path / "gone")
    source = imagenet(config(root, split="val"))
    assert [label for _, label in found(source)] == [1, 2, 2]
    assert source.open().classes == tuple(WNIDS)
    (tmp_path / "gone").rename(root / "val/n99999999")
    with pytest.raises(UserError, match="val has the class n99999999, which train lacks"):
        imagenet(config(root, split="val"))


def test_filters_have_caches_and_equals_of_their_own(tmp_path: Path) -> None:
    root = put(tmp_path / "i", flat=False)
    sources = {name: imagenet(config(root, resize=name)) for name in ("bicubic", "bilinear", "lanczos")}
    assert len({source.recipe for source in sources.values()}) == 3
    assert "BigGAN-PyTorch" in sources["bilinear"].published
    assert "StyleGAN3" in sources["lanczos"].published
    assert not np.array_equal(*(sources[name].open().entries[0].read()[0] for name in ("bilinear", "lanczos")))
