"""Batches are functions of seed and position: independent of the number of processes and of restarts."""

import numpy as np
import pytest
import torch

from gconv_gan.config.errors import UserError
from gconv_gan.data.batches.loaders import BatchSource, fixed_batch
from gconv_gan.data.batches.sampler import indices
from gconv_gan.data.batches.subset import without_held_out
from gconv_gan.data.device_images import DeviceImages
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.reading.transforms import quantise, to_unit
from tests.data.made import in_memory, noise


@pytest.fixture
def labelled() -> ImageDataset:
    """Fifty images, the last pixel of image i is i; classes in stretches of 20, 20 and 10."""
    images = noise(0, 50, 3, 8, 8)
    images[:, 0, 7, 3] = images[:, 0, 7, 4] = np.arange(50)  # equal in the mirror
    return in_memory(images, [0] * 20 + [1] * 20 + [2] * 10, ("a", "b", "c"))


def numbers(reals: torch.Tensor) -> torch.Tensor:
    return quantise(reals)[:, 0, 7, 3].long()


@pytest.mark.parametrize("flip", [False, True])
def test_a_batch_is_the_images_of_the_order_scaled_with_their_labels(labelled: ImageDataset, flip: bool) -> None:
    reals, labels = BatchSource(labelled, seed=4, flip=flip, batch_size=16).batch(40)
    order = indices(4, 40, 16, 50)
    assert labels is not None
    assert labelled.labels is not None
    assert (reals.dtype, reals.shape, labels.dtype) == (torch.float32, (16, 3, 8, 8), torch.int64)
    assert labels.equal(torch.from_numpy(labelled.labels)[order])
    straight = to_unit(torch.from_numpy(labelled.images[order.numpy()]))
    mirrored = straight.flip(-1)
    kept = torch.tensor([bool(r.equal(s)) for r, s in zip(reals, straight, strict=True)])
    turned = torch.tensor([bool(r.equal(m)) for r, m in zip(reals, mirrored, strict=True)])
    assert (kept ^ turned).all()
    assert kept.all() != flip


@pytest.mark.parametrize(("balance", "expected"), [("per_class", [4, 4, 4]), ("overall", None)])
def test_balanced_batches_are_shared_and_repeated_as_others_are(labelled: ImageDataset, balance: str, expected: list[int] | None) -> None:
    settings = {"seed": 1, "flip": True, "batch_size": 12, "balance": balance}
    reals, labels = BatchSource(labelled, **settings).batch(36)
    shares = [BatchSource(labelled, **settings, process_index=rank, num_processes=2).batch(36)[0] for rank in range(2)]
    assert torch.cat(shares).equal(reals)
    assert labels is not None
    if expected is not None:
        assert torch.bincount(labels).tolist() == expected


@pytest.mark.parametrize("balance", ["none", "per_class", "overall"])
def test_held_out_images_are_in_no_batch_and_the_others_are_in_all_epochs(labelled: ImageDataset, balance: str) -> None:
    training, held_out = without_held_out(labelled, share=0.2, seed=7)
    assert labelled.labels is not None
    assert np.bincount(labelled.labels[held_out]).tolist() == [4, 4, 2]
    assert sorted([*training, *held_out]) == list(range(50))
    assert without_held_out(labelled, share=0.2, seed=8)[1].tolist() != held_out.tolist()
    source = BatchSource(labelled, seed=4, flip=True, batch_size=20, balance=balance, indices=training)
    reals, labels = zip(*(source.batch(20 * step) for step in range(6)), strict=True)
    seen = numbers(torch.cat(reals))
    assert torch.cat(labels).equal(torch.from_numpy(labelled.labels)[seen])
    assert set(seen.tolist()) == set(training.tolist())
    if balance == "none":
        assert torch.bincount(seen)[training].tolist() == [3] * 40


def test_balancing_without_classes_is_refused() -> None:
    images = noise(0, 5, 3, 8, 8)
    with pytest.raises(UserError, match=r'unlabelled: trainer\.balance = "overall" has no classes to balance'):
        BatchSource(in_memory(images, None, ()), seed=0, flip=False, batch_size=4, balance="overall")
    with pytest.raises(UserError, match=r"has no image of the class 'b', which trainer\.balance"):
        BatchSource(in_memory(images, [0] * 5, ("a", "b")), seed=0, flip=False, batch_size=4, balance="per_class")


def test_processes_share_every_micro_batch(labelled: ImageDataset) -> None:
    whole = numbers(BatchSource(labelled, seed=1, flip=False, batch_size=12).batch(0)[0])
    settings = {"seed": 1, "flip": False, "batch_size": 12, "num_processes": 2, "micro_batches": 3}
    shares = [numbers(BatchSource(labelled, **settings, process_index=rank).batch(0)[0]) for rank in range(2)]
    for index in range(3):
        assert torch.cat([part.chunk(3)[index] for part in shares]).equal(whole.chunk(3)[index])


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batch_of_one(labelled: ImageDataset, processes: int) -> None:
    whole = BatchSource(labelled, seed=1, flip=True, batch_size=8)
    shares = [
        BatchSource(labelled, seed=1, flip=True, batch_size=8, process_index=rank, num_processes=processes) for rank in range(processes)
    ]
    for images_seen in (0, 8, 48, 56, 1000):  # 48 straddles two epochs
        reals, labels = whole.batch(images_seen)
        parts = [share.batch(images_seen) for share in shares]
        assert labels is not None
        assert torch.cat([part for part, _ in parts]).equal(reals)
        assert torch.cat([part for _, part in parts if part is not None]).equal(labels)
    assert not shares[0].batch(0)[0].equal(shares[1].batch(0)[0])


def test_a_restart_at_any_position_repeats_the_run(labelled: ImageDataset) -> None:
    run = BatchSource(labelled, seed=2, flip=True, batch_size=12)
    batches = [run.batch(images_seen)[0] for images_seen in range(0, 240, 12)]
    for i in (0, 3, 4, 19):
        assert BatchSource(labelled, seed=2, flip=True, batch_size=12).batch(12 * i)[0].equal(batches[i])


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order(labelled: ImageDataset) -> None:
    source = BatchSource(labelled, seed=0, flip=True, batch_size=10)
    epochs = [torch.cat([numbers(source.batch(50 * epoch + i)[0]) for i in range(0, 50, 10)]) for epoch in range(2)]
    for epoch in epochs:
        assert epoch.sort().values.equal(torch.arange(50))
    assert not epochs[0].equal(epochs[1])


def test_half_of_the_images_are_mirrored_independently_in_every_batch() -> None:
    images = np.zeros((64, 3, 8, 8), dtype=np.uint8)
    images[..., 0] = 255  # a bright left edge
    source = BatchSource(in_memory(images, None, ()), seed=0, flip=True, batch_size=64)
    turned = torch.stack([source.batch(64 * i)[0][:, 0, 0, 0] < 0 for i in range(100)]).float()
    assert abs(turned.mean().item() - 0.5) < 4 * 0.5 / 80  # four standard deviations of 6400 coins
    assert len({tuple(row.tolist()) for row in turned}) == 100
    other = BatchSource(in_memory(images, None, ()), seed=1, flip=True, batch_size=64)
    assert not other.batch(0)[0].equal(source.batch(0)[0])


def test_unlabelled_pictures_have_no_labels_in_a_batch() -> None:
    assert BatchSource(in_memory(noise(0, 5, 3, 8, 8), None, ()), seed=0, flip=False, batch_size=4).batch(0)[1] is None


def test_a_batch_larger_than_the_set_repeats_it(labelled: ImageDataset) -> None:
    counts = torch.bincount(numbers(BatchSource(labelled, seed=0, flip=False, batch_size=100).batch(0)[0]))
    assert counts.tolist() == [2] * 50


def test_a_batch_that_cannot_be_shared_is_refused(labelled: ImageDataset) -> None:
    with pytest.raises(UserError, match="batch_size 10 cannot be shared evenly by 4 processes"):
        BatchSource(labelled, seed=0, flip=False, batch_size=10, num_processes=4)
    with pytest.raises(ValueError, match="process_index 2 is not among 2"):
        BatchSource(labelled, seed=0, flip=False, batch_size=10, process_index=2, num_processes=2)


def test_a_fixed_batch_is_spread_over_the_set_or_has_a_row_for_each_class(labelled: ImageDataset) -> None:
    assert fixed_batch(labelled, count=5)[:, 0, 7, 3].tolist() == [0, 10, 20, 30, 40]
    assert fixed_batch(labelled, count=6, rows=3)[:, 0, 7, 3].tolist() == [0, 1, 20, 21, 40, 41]
    assert fixed_batch(labelled, count=24, rows=2)[:, 0, 7, 3].tolist() == [*range(12), *range(20, 32)]
    assert fixed_batch(labelled, count=36, rows=3)[24:, 0, 7, 3].tolist() == [*range(40, 50), 40, 41]  # ten only, then again


def test_a_fixed_batch_without_a_class_for_each_row_is_refused(labelled: ImageDataset) -> None:
    for dataset, count, rows in ((labelled, 8, 4), (labelled, 7, 3), (in_memory(labelled.images, None, ()), 6, 3)):
        with pytest.raises(ValueError, match=f"cannot be laid out in {rows} rows"):
            fixed_batch(dataset, count=count, rows=rows)
    with pytest.raises(ValueError, match="no image of class 'z'"):
        fixed_batch(in_memory(labelled.images[:2], [0, 0], ("a", "z")), count=2, rows=2)


@pytest.mark.parametrize("balance", ["none", "per_class"])
@pytest.mark.parametrize("processes", [1, 2])
def test_batches_gathered_together_or_from_the_device_are_the_same(labelled: ImageDataset, balance: str, processes: int) -> None:
    settings = {"seed": 1, "flip": True, "batch_size": 12, "balance": balance, "process_index": processes - 1, "num_processes": processes}
    alone = BatchSource(labelled, **settings, resident=False, block=1)
    for resident, block in ((True, 1), (False, 3), (True, 4)):
        together = BatchSource(labelled, **settings, resident=resident, block=block)
        for images_seen in (0, 12, 24, 60, 66, 72, 48, 36):
            (reals, labels), (expected, classes) = together.batch(images_seen), alone.batch(images_seen)
            assert reals.equal(expected)
            assert labels is not None
            assert classes is not None
            assert labels.equal(classes)


def test_runs_share_the_images_on_a_device(labelled: ImageDataset) -> None:
    first, second, apart = (DeviceImages(labelled, torch.device("cpu"), resident=resident) for resident in (True, "auto", False))
    assert first.resident is second.resident
    assert first.resident is not None
    assert apart.resident is None
