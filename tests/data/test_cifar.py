"""The official CIFAR-10 files: pickled by Python 2, verified before they are read."""

import hashlib
import pickle
import struct
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from gconv_gan.config.data import CIFAR10DataConfig
from gconv_gan.config.errors import UserError
from gconv_gan.data import cifar
from gconv_gan.data.cifar import CIFAR10_MD5, cifar10
from tests.data.made import noise

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def text(value: bytes) -> bytes:
    """Python 2's str: SHORT_BINSTRING or BINSTRING, which Python 3 no longer writes."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def official(rows: np.ndarray, labels: list[int], name: bytes) -> bytes:
    """Return the batch as Python 2's cPickle wrote it: protocol 2, str keys, an array of NumPy 1."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"  # an empty array
        b"(K\x01M" + struct.pack("<H", len(rows)) + b"M\x00\x0c\x86"  # version 1, shape (n, 3072)
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + text(rows.tobytes()) + b"tb"  # C order, the bytes
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(text(b"picture_%d.png" % i) for i in range(len(rows))) + b"e"
    parts = [text(b"batch_label"), text(name), text(b"labels"), numbers, text(b"data"), array, text(b"filenames"), names]
    return b"\x80\x02}(" + b"".join(parts) + b"u."


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Six batches of two pictures, and their MD5 sums."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    md5 = {}
    for i, name in enumerate(CIFAR10_MD5):
        data = official(noise(i, 2, 3072), [i, 9 - i], name.encode())
        (folder / name).write_bytes(data)
        md5[name] = hashlib.md5(data).hexdigest()
    return tmp_path / "data", md5


def test_the_stand_in_is_read_by_plain_pickle_as_the_official_files_are() -> None:
    batch = pickle.loads(official(noise(0, 2, 3072), [3, 7], b"testing batch 1 of 1"), encoding="latin1")
    assert (batch["labels"], batch["batch_label"], batch["data"].shape) == ([3, 7], "testing batch 1 of 1", (2, 3072))
    np.testing.assert_array_equal(batch["data"], noise(0, 2, 3072))


@pytest.mark.parametrize(("split", "batches"), [("train", range(5)), ("test", [5])])
def test_pixels_planes_labels_and_order(tiny: tuple[Path, dict[str, str]], split: str, batches: list[int]) -> None:
    root, md5 = tiny
    pictures = cifar10(CIFAR10DataConfig(path=str(root), split=split), md5=md5).open()  # type: ignore[arg-type]
    entries = list(pictures.entries)
    assert pictures.count == len(entries) == 2 * len(batches)
    assert pictures.classes == CLASSES
    assert [entry.label for entry in entries] == [label for i in batches for label in (i, 9 - i)]
    rows = np.concatenate([noise(i, 2, 3072) for i in batches])
    for entry, row in zip(entries, rows, strict=True):
        red, green, blue = row[:1024], row[1024:2048], row[2048:]
        np.testing.assert_array_equal(entry.read()[0], np.stack([plane.reshape(32, 32) for plane in (red, green, blue)]))
    assert entries[1].name == ("data_batch_1[1]" if split == "train" else "test_batch[1]")


def test_a_file_that_is_not_the_official_one_is_named_and_never_unpickled(
    tiny: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, md5 = tiny
    bad = root / "cifar-10-batches-py" / "data_batch_3"
    bad.write_bytes(bad.read_bytes()[:-1] + b"!")
    monkeypatch.setattr(cifar, "_load", lambda data: pytest.fail("unpickled"))
    with pytest.raises(UserError, match=rf"{bad} is not the official file: its MD5 is .*, not {md5['data_batch_3']}"):
        cifar10(CIFAR10DataConfig(path=str(root)), md5=md5)
    cifar10(CIFAR10DataConfig(path=str(root), split="test"), md5=md5)  # the other split needs it not


def test_the_default_sums_refuse_the_stand_in(tiny: tuple[Path, dict[str, str]]) -> None:
    with pytest.raises(UserError, match="not c99cafc152244af753f735de768cd75f"):
        cifar10(CIFAR10DataConfig(path=str(tiny[0])))


def test_even_a_verified_pickle_runs_nothing(tmp_path: Path) -> None:
    evil = b"\x80\x02cposix\nsystem\n" + text(b"touch " + str(tmp_path / "ran").encode()) + b"\x85R."
    with pytest.raises(pickle.UnpicklingError, match=r"no business with posix\.system"):
        cifar._load(evil)
    assert not (tmp_path / "ran").exists()


def test_absent_files_say_where_and_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        cifar10(CIFAR10DataConfig(path=str(tmp_path / "none")))
    for part in (str(tmp_path / "none/cifar-10-batches-py/data_batch_1"), "data.download = true", cifar.CIFAR10_URL):
        assert part in str(refused.value)
    assert not (tmp_path / "none").exists()  # nothing is fetched unless asked


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a web server on this machine that serves ``tmp_path``."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_download_fetches_verifies_and_unpacks(
    tiny: tuple[Path, dict[str, str]], served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, md5 = tiny
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(root / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(cifar, "CIFAR10_URL", f"{served}/{archive.name}")
    config = CIFAR10DataConfig(path=str(tmp_path / "fetched"), split="test", download=True)
    with pytest.raises(UserError, match="cannot fetch .*put the archive there yourself"):
        cifar10(config, md5=md5)  # its sum is not the official archive's
    assert not (tmp_path / "fetched" / "cifar-10-batches-py").exists()
    monkeypatch.setattr(cifar, "CIFAR10_ARCHIVE_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    assert cifar10(config, md5=md5).open().count == 2
    archive.unlink()
    assert cifar10(config, md5=md5).open().count == 2  # what is there is not fetched again
