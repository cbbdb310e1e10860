"""The pixel cache: converted once, reused, never stale, never incomplete."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gconv_gan.config.errors import FullDiskError, UserError
from gconv_gan.config.sections.data import DigitsDataConfig, FolderDataConfig
from gconv_gan.data import cache, datasets
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.reading.decoding import Outcome
from gconv_gan.data.sources.source import Entry
from tests.data.made import noise, save, zipped


def config(path: Path, **changes: object) -> FolderDataConfig:
    settings = {"path": str(path), "split": "train", "size": 8, "cache_dir": str(path.parent / "cache")}
    return FolderDataConfig(**(settings | changes))  # type: ignore[arg-type]


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The places that were converted."""
    places: list[Path] = []
    build = cache._build

    def counted(source: object, config: object, place: Path, **options: bool) -> None:
        places.append(place)
        build(source, config, place, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "_build", counted)
    return places


def expected(seeds: list[int]) -> np.ndarray:
    return np.stack([noise(seed, 8, 8, 3).transpose(2, 0, 1) for seed in seeds])


def check_pets(dataset: ImageDataset) -> None:
    np.testing.assert_array_equal(dataset.images, expected([0, 1, 2, 10, 11, 12]))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_images_labels_and_manifest(pets: Path) -> None:
    dataset = open_dataset(config(pets))
    check_pets(dataset)
    assert (len(dataset), dataset.classes, dataset.num_classes, dataset.title) == (6, ("cat", "dog"), 2, "pets")
    manifest = json.loads((dataset.folder / "manifest.json").read_text())
    assert (manifest["count"], manifest["class_counts"], manifest["formats"], manifest["split"]) == (6, [3, 3], {"PNG": 6}, "train")
    assert manifest["location"] == str(pets)
    assert manifest["skipped"] == []
    assert "centre crop, PIL bicubic antialiased" in manifest["recipe"]
    assert sorted(path.name for path in dataset.folder.iterdir()) == ["images.npy", "labels.npy", "manifest.json"]
    np.testing.assert_array_equal(np.load(dataset.folder / "images.npy", allow_pickle=False), dataset.images)
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0] = 0


def test_unlabelled_pictures_have_no_labels(pets: Path) -> None:
    dataset = open_dataset(config(pets, labels="none", split=None))
    assert (dataset.labels, dataset.num_classes, dataset.classes, len(dataset)) == (None, None, (), 8)
    assert not (dataset.folder / "labels.npy").exists()


def test_a_second_start_converts_nothing(pets: Path, builds: list[Path]) -> None:
    first, second = open_dataset(config(pets)), open_dataset(config(pets))
    assert builds == [first.folder]
    assert second.manifest == first.manifest
    check_pets(second)


def test_size_split_and_labels_have_caches_of_their_own(pets: Path, builds: list[Path]) -> None:
    changes: list[dict[str, object]] = [{}, {"size": 16}, {"split": "test"}, {"labels": "none"}]
    hashes = {open_dataset(config(pets, **change)).content_hash for change in changes}
    assert len(set(builds)) == len(hashes) == 4


@pytest.mark.usefixtures("patient_clock")
@pytest.mark.parametrize("packed", [False, True])
def test_changed_data_are_never_served_from_the_old_cache(pets: Path, packed: bool) -> None:
    def path() -> Path:
        return zipped(pets, pets.parent / "pets.zip") if packed else pets

    before = open_dataset(config(path()))
    victim = pets / "train/cat/1.png"
    stat = victim.stat()
    time.sleep(0.02)  # the file system's clock ticks every few milliseconds
    save(victim, noise(99, 8, 8, 3))
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = open_dataset(config(path()))
    assert after.content_hash != before.content_hash
    np.testing.assert_array_equal(after.images[1], expected([99])[0])
    save(pets / "train/cat/3.png", noise(98, 8, 8, 3))
    assert len(open_dataset(config(path()))) == 7


def test_the_content_hash_does_not_depend_on_the_path_of_the_data(pets: Path, tmp_path: Path) -> None:
    archive = zipped(pets, tmp_path / "other.zip")
    assert open_dataset(config(archive)).content_hash == open_dataset(config(pets)).content_hash
    shutil.move(pets / "train/dog", pets / "train/elk")
    assert open_dataset(config(pets)).content_hash != open_dataset(config(archive)).content_hash  # same pixels, another class name


def test_a_damaged_image_is_named_and_nothing_is_stored(pets: Path) -> None:
    broken = pets / "train/dog/1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=r'pets: train/dog/1\.png cannot be used \(.+\); .*data\.damaged = "skip"'):
        open_dataset(config(pets))
    assert [path for path in (pets.parent / "cache").iterdir() if path.is_dir() and path.name != "fingerprints"] == []


def test_damaged_images_are_skipped_and_listed_only_on_request(pets: Path, builds: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    for name in ("cat/0", "dog/2"):
        (pets / f"train/{name}.png").write_bytes(b"not a picture")
    dataset = open_dataset(config(pets, damaged="skip"), verify=True)
    np.testing.assert_array_equal(dataset.images, expected([1, 2, 10, 11]))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert dataset.manifest.class_counts == (2, 2)
    assert [image.name for image in dataset.manifest.skipped] == ["train/cat/0.png", "train/dog/2.png"]
    assert "not a picture" in dataset.manifest.skipped[0].reason
    caplog.clear()
    open_dataset(config(pets, damaged="skip"))  # logged at every start, not only during the conversion
    assert caplog.messages == [f"{pets}: 2 of 6 images cannot be used and are left out, see {dataset.folder / 'manifest.json'}"]
    caplog.clear()
    open_dataset(config(pets, damaged="skip"), notes=False)
    assert caplog.messages == []
    with pytest.raises(UserError, match=r"train/cat/0\.png cannot be used \(.*\), one of 2 such images; replace them, or set"):
        open_dataset(config(pets))  # the cache of the run with "skip" is not used
    assert len(builds) == 1


def test_a_data_set_without_an_undamaged_image_is_refused(pets: Path) -> None:
    for path in (pets / "test").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 2 images can be used, first test/cat/0\.png \(the file is empty\)"):
        open_dataset(config(pets, split="test", damaged="skip"))


def shorten(folder: Path) -> None:
    os.truncate(folder / "images.npy", 500)


def empty(folder: Path) -> None:
    (folder / "labels.npy").write_bytes(b"")


def lengthen(folder: Path) -> None:
    with (folder / "images.npy").open("ab") as file:
        file.write(b"x")


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def break_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"title": "pets", "cou')


def swap_shape(folder: Path) -> None:
    np.save(folder / "images.npy", np.zeros((5, 3, 8, 8), dtype=np.uint8))


@pytest.mark.parametrize("damage", [shorten, empty, lengthen, lose_manifest, break_manifest, swap_shape])
def test_a_damaged_cache_is_named_and_built_again(pets: Path, builds: list[Path], caplog: pytest.LogCaptureFixture, damage: object) -> None:
    folder = open_dataset(config(pets)).folder
    damage(folder)  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        check_pets(open_dataset(config(pets)))
    assert f"the cache {folder} is damaged" in caplog.text
    assert len(builds) == 2


def test_a_flipped_bit_is_found_by_the_full_check(pets: Path, builds: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = open_dataset(config(pets), verify=True).folder
    data = bytearray((folder / "images.npy").read_bytes())
    data[-1] ^= 1
    (folder / "images.npy").write_bytes(data)
    with caplog.at_level(logging.WARNING):
        check_pets(open_dataset(config(pets), verify=True))
    assert "do not have the hash of the manifest" in caplog.text
    assert len(builds) == 2


def test_data_that_change_during_the_conversion_are_refused(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = cache.decoded

    def meddling(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Outcome]]:
        yield from decoded(entries)
        save(pets / "train/dog/2.png", noise(77, 8, 8, 3))

    monkeypatch.setattr(cache, "decoded", meddling)
    with pytest.raises(UserError, match="changed while it was converted; run the command again when the data are complete"):
        open_dataset(config(pets))
    monkeypatch.undo()
    np.testing.assert_array_equal(open_dataset(config(pets)).images[5], expected([77])[0])


def test_several_processes_at_once_convert_once(pets: Path) -> None:
    script = (
        "from gconv_gan.data import cache; from gconv_gan.config.sections.data import FolderDataConfig; import time\n"
        "build = cache._build\n"
        "def slow(*a, **k): print('built'); time.sleep(0.5); build(*a, **k)\n"
        "cache._build = slow\n"
        f"config = FolderDataConfig(path={str(pets)!r}, split='train', size=8, cache_dir={str(pets.parent / 'c')!r})\n"
        "print(cache.open_dataset(config).content_hash)"
    )
    started = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = " ".join(process.communicate(timeout=60)[0] for process in started).split()
    assert [process.returncode for process in started] == [0, 0, 0]
    assert printed.count("built") == 1
    assert len(set(printed) - {"built"}) == 1


def test_partial_folders_of_a_killed_process_are_deleted(pets: Path) -> None:
    place = open_dataset(config(pets)).folder
    partial = place.with_name(f".{place.name}.partial")
    place.rename(partial)  # as if killed before the rename
    (partial / "images.npy").write_bytes(b"half")
    check_pets(open_dataset(config(pets)))
    assert not partial.exists()


def test_the_disk_space_of_a_conversion_is_logged_before_it_starts(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        open_dataset(config(pets, size=448))
    assert re.search(rf"converting {pets}: 6 images of 448×448 need 0\.0 GiB in .*cache, where [\d,.]+ GiB are free", caplog.text)


def test_a_disk_without_room_is_refused_before_anything_is_written(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 6 * (3 * 448 * 448 + 16)
    usage = shutil.disk_usage(pets)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(FullDiskError, match=r"data\.cache_dir: pets: 6 images .* are free; choose another folder, "):
        open_dataset(config(pets, size=448))
    assert [path.name for path in (pets.parent / "cache").glob("folder-*")] == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
    assert len(open_dataset(config(pets, size=448))) == 6


def test_digits_splits(tmp_path: Path) -> None:
    sets = {split: open_dataset(DigitsDataConfig(split=split, cache_dir=str(tmp_path))) for split in ("all", "train", "test")}
    assert {name: len(dataset) for name, dataset in sets.items()} == {"all": 1797, "train": 1438, "test": 359}
    everything = sets["all"]
    assert everything.labels is not None
    assert everything.images.shape == (1797, 3, 8, 8)
    np.testing.assert_array_equal(sets["test"].images, everything.images[4::5])
    np.testing.assert_array_equal(sets["train"].images, np.delete(everything.images, np.s_[4::5], axis=0))
    assert everything.labels[:10].tolist() == list(range(10))
    assert everything.classes == tuple("0123456789")


def test_digits_of_16_are_those_of_8_enlarged(tmp_path: Path) -> None:
    small, large = (open_dataset(DigitsDataConfig(split="test", size=size, cache_dir=str(tmp_path))).images[7] for size in (8, 16))
    enlarged = Image.fromarray(small[0]).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(large, np.stack([np.asarray(enlarged)] * 3))


def test_digits_are_stretched_to_the_full_range_and_rounded_half_up(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    stored = open_dataset(DigitsDataConfig(cache_dir=str(tmp_path))).images
    values = load_digits().images
    table = {int(v): set(stored[:, 0][values == v].tolist()) for v in np.unique(values)}
    assert table == {v: {int(v * 255 / 16 + 0.5)} for v in range(17)}
    assert (stored[:, 0] == stored[:, 1]).all()
    assert (stored[:, 0] == stored[:, 2]).all()


def test_a_jpeg_copy_of_cifar10_says_so(tmp_path: Path) -> None:
    for name in ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"):
        save(tmp_path / "copy/train" / name / "0.jpg", noise(1, 32, 32, 3))
    assert open_dataset(config(tmp_path / "copy", size=32)).title == "CIFAR-10 (JPEG copy)"


def test_a_conditional_model_needs_two_classes(pets: Path) -> None:
    datasets.require_labels(open_dataset(config(pets)))
    with pytest.raises(UserError, match=r"pets .* is unlabelled; put the pictures of each class into a folder .* set conditional = false"):
        datasets.require_labels(open_dataset(config(pets, labels="none")))
    shutil.rmtree(pets / "train/dog")
    with pytest.raises(UserError, match="has the single class 'cat'"):
        datasets.require_labels(open_dataset(config(pets)))


def test_files_of_other_kinds_are_named_once_and_then_counted(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    (pets / "train/cat/0.png").write_bytes(b"not a picture")
    (pets / "train/notes.txt").write_text("")
    dataset = open_dataset(config(pets, damaged="skip"))
    listed = dataset.folder / "manifest.json"
    kinds, damaged = (message for message in caplog.messages if "left out" in message)
    assert kinds.endswith("left out 1 of a kind that is not read as a picture (train/notes.txt)")
    assert damaged == f"{pets}: 1 of 6 images cannot be used and are left out, see {listed}"
    caplog.clear()
    open_dataset(config(pets, damaged="skip"))
    assert caplog.messages == [f"{pets}: 1 of 6 images and other files are left out, see {listed}"]
