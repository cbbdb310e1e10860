"""Images that a thread reads before they are asked for: the same batches, no buffer overwritten too early, errors in the loop."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gconv_gan.commands.train import gan as recipe
from gconv_gan.config.errors import UserError
from gconv_gan.data import device_images, read_ahead
from gconv_gan.data.batches.class_batches import Augmentation, ClassBatches
from gconv_gan.data.batches.loaders import BatchSource
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.read_ahead import ReadAhead
from tests.data.made import in_memory, noise
from tests.training.tiny import final_files, tiny

CPU = torch.device("cpu")


class Copied:
    """The event of a copy that the device makes when the event is waited for: as late as it may."""

    def __init__(self, copy: Callable[[], Any]) -> None:
        self.copy: Callable[[], Any] | None = copy

    def synchronize(self) -> None:
        if self.copy is not None:
            self.copy()
        self.copy = None


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[Copied]:
    """Let a device copy as late as possible; return its copies."""
    made: list[Copied] = []

    def sent(images: Tensor, _: torch.device) -> tuple[Tensor, Copied]:
        copies = torch.zeros_like(images)
        made.append(Copied(lambda: copies.copy_(images)))
        return copies, made[-1]

    monkeypatch.setattr(read_ahead, "pinned", lambda shape: torch.zeros(shape, dtype=torch.uint8))
    monkeypatch.setattr(read_ahead, "sent", sent)
    return made


def test_no_buffer_is_written_to_before_it_was_copied(late: list[Copied]) -> None:
    images = torch.from_numpy(noise(0, 40, 3, 2, 2))
    threads = set()

    def read(chosen: Tensor, to: Tensor) -> None:
        threads.add(threading.current_thread())
        to.copy_(images[chosen])

    ahead = ReadAhead(read, (3, 2, 2), CPU)
    batches = [torch.arange(start, start + 4) for start in range(0, 40, 4)]
    found: list[Tensor] = []
    for number, chosen in enumerate(batches):
        ahead.begin(batches[-1 - number])  # given up
        ahead.begin(chosen)
        assert ahead(chosen + 1) is None
        taken = ahead(chosen)
        assert taken is not None
        found.append(taken)
        assert ahead(chosen) is None
    for copied in late:
        copied.synchronize()
    assert torch.cat(found).equal(images)
    assert len(threads) == 1
    assert threads != {threading.current_thread()}


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Read ahead as for a CUDA device; return the number of images of each batch that was."""
    taken: list[int] = []

    def sent(images: Tensor, _: torch.device) -> tuple[Tensor, Copied]:
        taken.append(len(images))
        return images.clone(), Copied(lambda: None)

    monkeypatch.setattr(read_ahead, "pinned", lambda shape: torch.zeros(shape, dtype=torch.uint8))
    monkeypatch.setattr(read_ahead, "sent", sent)
    monkeypatch.setattr(device_images, "reads_ahead", lambda _: True)
    return taken


def made() -> ImageDataset:
    return in_memory(noise(1, 50, 3, 8, 8), [0, 1] * 25, ("a", "b"))


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("balance", ["none", "per_class"])
def test_the_batches_of_a_gan_are_the_same(block: int, balance: Any, as_on_a_gpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"seed": 1, "flip": True, "batch_size": 12, "balance": balance, "block": block}
    ahead = BatchSource(made(), **settings, resident=False)
    found = []
    for images_seen in range(0, 240, 12):
        found.append(ahead.batch(images_seen))
        ahead.whole().batch(24)  # a method's; it leaves what is being read
    assert as_on_a_gpu == [12 * block] * (len(range(0, 20, block)) - 1)  # all but the first
    monkeypatch.setattr(device_images, "reads_ahead", lambda _: False)
    plain = BatchSource(made(), **settings, resident=False)
    for images_seen, (reals, labels) in zip(range(0, 240, 12), found, strict=True):
        expected, classes = plain.batch(images_seen)
        assert reals.equal(expected)
        assert labels is not None
        assert classes is not None
        assert labels.equal(classes)


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_the_batches_of_a_classifier_are_the_same(mixup: float, as_on_a_gpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"augmentation": Augmentation(8, flip=True, crop_padding=1, mixup=mixup), "seed": 2, "batch_size": 10}
    ahead = ClassBatches(made(), **settings, resident=False)
    found = [ahead.batch(images_seen) for images_seen in range(0, 100, 10)]
    assert as_on_a_gpu == [20 if mixup else 10] * 9
    monkeypatch.setattr(device_images, "reads_ahead", lambda _: False)
    plain = ClassBatches(made(), **settings, resident=False)
    for images_seen, batch in zip(range(0, 100, 10), found, strict=True):
        expected = plain.batch(images_seen)
        for name in ("images", "labels", "others", "places"):
            assert getattr(batch, name).equal(getattr(expected, name))
        assert batch.weight == expected.weight


def test_a_run_is_the_same_and_an_error_of_the_thread_ends_it_in_one_sentence(
    tmp_path: Path, as_on_a_gpu: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"total_images": 96, "checkpoint_every": 96}
    recipe.fit(tiny(tmp_path / "ahead", trainer=short, data={"resident": False}))
    assert as_on_a_gpu == [16] * 5
    gather = device_images.gather
    with monkeypatch.context() as patch:

        def damaged(images: np.ndarray, chosen: Tensor) -> Tensor:
            if threading.current_thread() is not threading.main_thread():
                raise UserError("an image has been damaged")
            return gather(images, chosen)

        patch.setattr(device_images, "gather", damaged)
        with pytest.raises(UserError, match="^an image has been damaged$"):
            recipe.fit(tiny(tmp_path / "damaged", trainer=short, data={"resident": False}))
    monkeypatch.setattr(device_images, "reads_ahead", lambda _: False)
    threads = set(threading.enumerate())
    recipe.fit(tiny(tmp_path / "plain", trainer=short, data={"resident": False}))
    assert not [thread for thread in set(threading.enumerate()) - threads if "read ahead" in thread.name]  # a processor trains
    assert final_files(tmp_path / "ahead", 96) == final_files(tmp_path / "plain", 96)


ENDING = """
import signal, sys, time, torch
from gconv_gan.config.errors import StoppedBySignalError
from gconv_gan.data import read_ahead
from gconv_gan.runtime.script import run_script
from gconv_gan.training.guards import noticing_signals
read_ahead.pinned = lambda shape: torch.zeros(shape, dtype=torch.uint8)

def main():
    ahead = read_ahead.ReadAhead(lambda chosen, to: time.sleep(0.5), (3, 2, 2), torch.device("cpu"))
    with noticing_signals() as signals:
        ahead.begin(torch.arange(2))
        signal.raise_signal(signal.SIGTERM)
        raise StoppedBySignalError(signals[0])

run_script(main)
"""


def test_a_process_that_a_signal_ends_ends_while_the_thread_reads() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (128 + 15, "-c: stopped by SIGTERM after saving\n")
