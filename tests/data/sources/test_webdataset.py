"""WebDataset shards: samples, classes, path patterns, and refusals."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import FolderDataConfig, WebDatasetDataConfig
from gconv_gan.data.batches.loaders import BatchSource
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.sources import webdataset as module
from gconv_gan.data.sources.webdataset import braces, expand, webdataset
from tests.data.made import encoded, noise

Members = list[tuple[str, bytes]]


def png(i: int) -> bytes:
    return encoded(noise(i, 8, 8, 3), "PNG")


def sample(i: int, label: int | None = None) -> Members:
    return [(f"{i:06d}.png", png(i))] + ([] if label is None else [(f"{i:06d}.cls", b"%d" % label)])


def write(path: Path, members: Members, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of 3, 2 and 4 samples of classes i % 3."""
    numbers = iter(range(9))
    for shard, count in enumerate((3, 2, 4)):
        members = [member for i in (next(numbers) for _ in range(count)) for member in sample(i, i % 3)]
        write(tmp_path / "shards" / f"toy-{shard:06d}.tar", members)
    return tmp_path / "shards"


def config(path: object, cache: Path, **changes: object) -> WebDatasetDataConfig:
    return WebDatasetDataConfig(path=str(path), cache_dir=str(cache), **{"size": 8, **changes})  # type: ignore[arg-type]


def test_pictures_classes_and_order(shards: Path) -> None:
    source = webdataset(config(shards / "toy-{000000..000002}.tar", shards.parent / "c"))
    assert source.title == "toy"
    pictures = source.open()
    assert pictures.classes == ("0", "1", "2")
    assert pictures.shards == (3, 2, 4)
    assert [entry.label for entry in pictures.entries] == [i % 3 for i in range(9)]
    assert [entry.name for entry in pictures.entries][2:4] == ["toy-000000.tar: 000002.png", "toy-000001.tar: 000003.png"]
    for i, entry in enumerate(pictures.entries):
        np.testing.assert_array_equal(entry.read()[0], noise(i, 8, 8, 3).transpose(2, 0, 1))


def test_the_cache_of_shards_is_that_of_the_same_pictures_in_a_folder(shards: Path) -> None:
    for i in range(9):
        (shards.parent / "f" / str(i % 3)).mkdir(parents=True, exist_ok=True)
        (shards.parent / "f" / str(i % 3) / f"{i}.png").write_bytes(png(i))
    dataset = open_dataset(config(shards, shards.parent / "c"), verify=True)
    other = open_dataset(FolderDataConfig(path=str(shards.parent / "f"), size=8, cache_dir=str(shards.parent / "c")))
    assert dataset.labels is not None
    order = np.argsort(dataset.labels, kind="stable")  # a folder is sorted by class
    np.testing.assert_array_equal(dataset.images[order], other.images[:])
    assert dataset.manifest.class_counts == other.manifest.class_counts == (3, 3, 3)
    assert dataset.manifest.shards == (3, 2, 4)


def test_keys_end_at_the_first_dot_and_kinds_are_taken_in_any_case(tmp_path: Path) -> None:
    members = [("./train/a.JPG", encoded(noise(0, 8, 8, 3), "JPEG")), ("./train/a.seg.png.txt", b"x"), ("./train/a.CLS", b"1\n")]
    members += [("train/b.webp", encoded(noise(1, 8, 8, 3), "WEBP")), ("train/b.cls", b"0")]
    pictures = webdataset(config(write(tmp_path / "x.tar", members), tmp_path / "c")).open()
    assert [(entry.label, entry.read()[1]) for entry in pictures.entries] == [(1, "JPEG"), (0, "WEBP")]


def test_a_class_may_stand_in_json(tmp_path: Path) -> None:
    members = [member for i in range(2) for member in (*sample(i), (f"{i:06d}.json", json.dumps({"label": 1 - i, "url": "x"}).encode()))]
    pictures = webdataset(config(write(tmp_path / "x.tar", members), tmp_path / "c")).open()
    assert [entry.label for entry in pictures.entries] == [1, 0]
    captions = [(name, b'{"caption": "a"}' if name.endswith("json") else content) for name, content in members]
    unlabelled = webdataset(config(write(tmp_path / "y.tar", captions), tmp_path / "c")).open()
    assert (unlabelled.classes, [entry.label for entry in unlabelled.entries]) == ((), [None, None])


def test_names_of_classes(shards: Path) -> None:
    before = webdataset(config(shards, shards.parent / "c"))
    (shards / "classnames.txt").write_text("cat\ndog\nelk\nfox\n")
    named = webdataset(config(shards, shards.parent / "c"))
    assert named.open().classes == ("cat", "dog", "elk", "fox")
    assert named.recipe != before.recipe  # a cache with other names is not found
    (shards / "classnames.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match=r"classnames\.txt beside .* names 2 classes, but there is a class 2"):
        webdataset(config(shards, shards.parent / "c")).open()


def test_a_name_for_two_classes_is_refused(shards: Path) -> None:
    (shards / "classnames.txt").write_text("crane\ndog\ncrane\n")
    with pytest.raises(UserError, match=r"classnames\.txt gives several classes the name 'crane'; each needs its own"):
        webdataset(config(shards, shards.parent / "c"))


def test_shards_on_several_disks_keep_the_order_of_their_names(shards: Path, tmp_path: Path) -> None:
    whole = open_dataset(config(shards, tmp_path / "c")).content_hash
    (tmp_path / "disk1").mkdir()
    shutil.move(shards / "toy-000001.tar", tmp_path / "disk1")
    for pattern in (f"{shards}::{tmp_path}/disk1", f"{tmp_path}/disk1/*.tar::{shards}/toy-*.tar", f"{tmp_path}/{{shards,disk1}}"):
        assert open_dataset(config(pattern, tmp_path / "c")).content_hash == whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("s/{000008..000011}.tar", ["s/000008.tar", "s/000009.tar", "s/000010.tar", "s/000011.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("d{0,1}/x{1..2}.tar", ["d0/x1.tar", "d0/x2.tar", "d1/x1.tar", "d1/x2.tar"]),
    ],
)
def test_braces_expand_as_in_a_shell(text: str, expected: list[str]) -> None:
    assert list(braces(text)) == expected


def test_shards_that_are_not_there_or_have_one_name_are_refused(shards: Path) -> None:
    with pytest.raises(UserError, match=r"toy-000003\.tar does not exist; .*toy-\{000000\.\.000003\}\.tar does not name a complete set"):
        expand(f"{shards}/toy-{{000000..000003}}.tar")
    (shards / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no \.tar files"):
        expand(str(shards / "empty"))
    shutil.copy(shards / "toy-000001.tar", shards / "empty")
    with pytest.raises(UserError, match=r"toy-000001\.tar and .*toy-000001\.tar have the same name"):
        expand(f"{shards}::{shards}/empty")


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([("a.cls", b"1")], r"the sample a has 0 pictures \(cls\), not one"),
        ([("a.png", b""), ("a.jpg", b"")], r"the sample a has 2 pictures \(png, jpg\), not one"),
        ([("a.png", b""), ("a.cls", b"cat")], r"a\.cls holds no class but b'cat'"),
        ([("a.png", b""), ("a.cls", b"-3")], r"the class in a\.cls is -3, no number from 0"),
        ([("a.png", b""), ("a.json", b'{"label": true}')], r"the class in a\.json is true, no number from 0 to 99,999"),
        ([("a.png", b""), ("a.json", b'{"label": 5000000}')], r"the class in a\.json is 5000000, no number from 0 to 99,999"),
        ([("a.png", b""), ("a.cls", b"100000")], r"the class in a\.cls is 100000, no number from 0 to 99,999"),
        ([("a.png", b""), ("a.cls", b"1" + b"0" * 20)], r"the class in a\.cls is 100000000000000000000, no number"),
        ([("a.png", b""), ("a.cls", b"1" + b"0" * 200)], r"the class in a\.cls is 1000000000000000000000000000000000000000…, no"),
        ([("a.png", b""), ("a.cls", b"1" + b"0" * 9000)], r"a\.cls holds no class but b'1000"),
        ([("a.png", b""), ("a.json", b'{"label": "cat"}')], r'the class in a\.json is "cat", no number from 0'),
        ([("a.png", b""), ("a.cls", b"0"), ("b.png", b"")], r"x\.tar: b\.png has no class while others have one"),
    ],
)
def test_invalid_samples_are_named(tmp_path: Path, members: Members, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        webdataset(config(write(tmp_path / "x.tar", members), tmp_path / "c")).open()


def test_compressed_and_broken_shards_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar.gz", sample(0), "w:gz")
    with pytest.raises(UserError, match=r"x\.tar\.gz is no whole plain tar: unpack its compression first \(gunzip\)"):
        webdataset(config(path, tmp_path / "c")).open()
    whole = write(tmp_path / "y.tar", sample(0) + sample(1)).read_bytes()
    (tmp_path / "y.tar").write_bytes(whole[: 512 + 300])  # inside the first picture
    source = webdataset(config(tmp_path / "y.tar", tmp_path / "c"))
    with pytest.raises(UserError, match=r"y\.tar"):
        open_dataset(config(tmp_path / "y.tar", tmp_path / "c"))
    assert source.location.endswith("y.tar")


def test_headers_are_read_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(shards, shards.parent / "c")
    first = [entry.name for entry in webdataset(settings).open().entries]
    monkeypatch.setattr(module, "tar_members", lambda _: pytest.fail("read again"))
    assert [entry.name for entry in webdataset(settings).open().entries] == first


def test_an_incomplete_index_is_written_again(shards: Path) -> None:
    settings = config(shards, shards.parent / "c")
    first = [entry.name for entry in webdataset(settings).open().entries]
    (stored,) = (shards.parent / "c/shard_index_v2").iterdir()
    stored.write_bytes(stored.read_bytes()[:100])
    assert [entry.name for entry in webdataset(settings).open().entries] == first


def test_damaged_pictures_are_skipped_only_on_request_and_not_counted(shards: Path) -> None:
    write(shards / "toy-000001.tar", [("000003.png", b"broken"), ("000003.cls", b"0"), *sample(4, 1)])
    with pytest.raises(UserError, match=r"toy-000001\.tar: 000003\.png cannot be used"):
        open_dataset(config(shards, shards.parent / "c"))
    dataset = open_dataset(config(shards, shards.parent / "c", damaged="skip"))
    assert dataset.manifest.shards == (3, 1, 4)
    assert [image.name for image in dataset.manifest.skipped] == ["toy-000001.tar: 000003.png"]


@pytest.mark.parametrize("storage", ["pixels", "encoded"])
@pytest.mark.parametrize("window", [0, 2])
def test_a_streamed_run_is_shared_by_processes_and_resumes_at_any_image(shards: Path, storage: str, window: int) -> None:
    def source(**options: int) -> BatchSource:
        settings = config(shards, shards.parent / "c", storage=storage, shuffle_shards=window)
        return BatchSource(open_dataset(settings), seed=2, flip=True, batch_size=4, **options)

    run = source()
    batches = [run.batch(images_seen) for images_seen in range(0, 40, 4)]
    for i in (0, 3, 9):
        assert source().batch(4 * i)[0].equal(batches[i][0])
    shares = [source(process_index=rank, num_processes=2) for rank in range(2)]
    for i, (reals, labels) in enumerate(batches):
        parts = [share.batch(4 * i) for share in shares]
        assert torch.cat([part for part, _ in parts]).equal(reals)
        assert labels is not None
        assert torch.cat([part for _, part in parts if part is not None]).equal(labels)
    seen = torch.cat([labels for _, labels in batches[:9] if labels is not None])
    assert torch.bincount(seen).tolist() == [12, 12, 12]  # four epochs of nine
