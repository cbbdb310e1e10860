"""Labelled batches: their content, and independence of the number of processes and of restarts."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from gconv_gan.config.errors import UserError
from gconv_gan.data.batches.class_batches import Augmentation, ClassBatches, LabelledBatch, crop_boxes
from gconv_gan.data.batches.sampler import indices
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.reading.transforms import to_unit
from tests.data.made import in_memory, noise

ALL = Augmentation(size=8, flip=True, crop_padding=2, cutout=3, mixup=0.4, cutmix=1.0)
EACH = {
    "none": Augmentation(size=8),
    "flip": Augmentation(size=8, flip=True),
    "crop": Augmentation(size=8, crop_padding=2),
    "resized": Augmentation(size=6, resized_crop=(0.3, 1.0)),
    "cutout": Augmentation(size=8, cutout=4),
    "mixup": Augmentation(size=8, mixup=0.4),
    "cutmix": Augmentation(size=8, cutmix=1.0),
    "all": ALL,
}


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    return in_memory(noise(0, 50, 3, 8, 8), [0] * 20 + [1] * 20 + [2] * 10, ("a", "b", "c"))


def parts(batch: LabelledBatch) -> list[torch.Tensor]:
    return [batch.images, batch.labels, batch.others, torch.ones(()) if batch.weight is None else batch.weight]


def test_without_augmentation_a_batch_is_the_images_of_the_order(dataset: ImageDataset) -> None:
    batch = ClassBatches(dataset, augmentation=EACH["none"], seed=4, batch_size=16).batch(40)
    order = indices(4, 40, 16, 50).numpy()
    assert torch.equal(batch.images, to_unit(torch.from_numpy(dataset.images[order])))
    assert dataset.labels is not None
    assert np.array_equal(batch.labels.numpy(), dataset.labels[order])
    assert batch.weight is None


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batch_of_one(dataset: ImageDataset, name: str, processes: int) -> None:
    whole = ClassBatches(dataset, augmentation=EACH[name], seed=1, batch_size=8)
    shares = [
        ClassBatches(dataset, augmentation=EACH[name], seed=1, batch_size=8, process_index=rank, num_processes=processes)
        for rank in range(processes)
    ]
    for images_seen in (0, 8, 48, 1000):
        images, labels, others, weight = parts(whole.batch(images_seen))
        mine = [parts(share.batch(images_seen)) for share in shares]
        for together, name_of in ((images, 0), (labels, 1), (others, 2)):
            assert torch.equal(torch.cat([part[name_of] for part in mine]), together)
        assert all(part[3] == weight for part in mine)


@pytest.mark.parametrize("name", [name for name in EACH if name != "none"])
def test_each_augmentation_changes_images_from_step_to_step_and_seed_to_seed(dataset: ImageDataset, name: str) -> None:
    plain = ClassBatches(dataset, augmentation=dataclasses.replace(EACH["none"], size=EACH[name].size), seed=1, batch_size=50)
    source, other = (ClassBatches(dataset, augmentation=EACH[name], seed=seed, batch_size=50) for seed in (1, 2))
    first, second = source.batch(0), source.batch(50)
    torch.manual_seed(99)  # nothing may depend on torch's global generator
    assert all(torch.equal(a, b) for a, b in zip(parts(first), parts(source.batch(0)), strict=True))
    assert not torch.equal(first.images, plain.batch(0).images)
    by_image = [batch.images[torch.argsort(indices(1, start, 50, 50))] for batch, start in ((first, 0), (second, 50))]
    assert not torch.equal(by_image[0], by_image[1])
    assert not torch.equal(first.images, other.batch(0).images)


def test_mixup_mixes_images_and_labels_alike(dataset: ImageDataset) -> None:
    # the image of class k is k everywhere, so the mixed pixel tells the mixed label
    labels = [0] * 20 + [1] * 20 + [2] * 10
    flat = in_memory(
        np.broadcast_to(np.array(labels, dtype=np.uint8)[:, None, None, None] * 100, (50, 3, 8, 8)).copy(), labels, ("a", "b", "c")
    )
    for name in ("mixup", "cutmix"):
        batches = ClassBatches(flat, augmentation=EACH[name], seed=3, batch_size=25)
        weights = set()
        for images_seen in range(0, 250, 25):
            batch = batches.batch(images_seen)
            assert batch.weight is not None
            weights.add(float(batch.weight))
            mean = (batch.images.mean((1, 2, 3)) + 1) * 127.5 / 100
            expected = batch.weight * batch.labels + (1 - batch.weight) * batch.others
            torch.testing.assert_close(mean, expected.float(), rtol=0, atol=1e-4)
        assert len(weights) > 5


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (8.0, 0.0), (0.0, 1.0)])
def test_the_weights_have_the_beta_distribution(dataset: ImageDataset, mixup: float, cutmix: float) -> None:
    batches = ClassBatches(dataset, augmentation=Augmentation(size=8, mixup=mixup, cutmix=cutmix), seed=3, batch_size=2)
    weights = [batches.batch(step).weight for step in range(600)]
    # shares of the clipped boxes of CutMix lie above the weights that were drawn
    found = torch.stack([weight for weight in weights if weight is not None]).double()
    assert len(found) == 600
    if mixup:
        assert stats.kstest(found.numpy(), stats.beta(mixup, mixup).cdf).pvalue > 1e-3
    else:
        assert stats.kstest(found.numpy(), stats.uniform().cdf, alternative="greater").pvalue > 1e-3
        assert found.min() == 1 - (6 / 8) ** 2  # the largest box around a pixel: three pixels to either side


def test_a_subset_and_other_labels(dataset: ImageDataset) -> None:
    chosen = np.array([3, 30, 31, 49])
    labels = np.arange(50) % 3
    batches = ClassBatches(dataset, augmentation=EACH["none"], seed=0, batch_size=4, indices=chosen, labels=labels)
    batch = batches.batch(8)
    order = chosen[indices(0, 8, 4, 4).numpy()]
    assert sorted(order) == sorted(chosen)
    assert torch.equal(batch.images, to_unit(torch.from_numpy(dataset.images[order])))
    assert np.array_equal(batch.labels.numpy(), labels[order])


def test_boxes_lie_inside_and_have_the_requested_areas() -> None:
    boxes = crop_boxes(torch.rand(2000, 4, generator=torch.Generator().manual_seed(0)), side=32, area=(0.2, 0.5))
    assert (boxes >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 32 + 1e-4).all()
    areas = boxes[:, 2] * boxes[:, 3] / 32**2
    assert areas.min() >= 0.2 - 1e-5
    assert areas.max() <= 0.5 + 1e-5
    assert abs(areas.mean().item() - 0.35) < 0.01
    assert 0.75 - 1e-5 <= (boxes[:, 3] / boxes[:, 2]).min() < 0.8
    assert 1.25 < (boxes[:, 3] / boxes[:, 2]).max() <= 4 / 3 + 1e-5


def test_wrong_arguments_are_refused(dataset: ImageDataset) -> None:
    unlabelled = in_memory(dataset.images, None, ())
    with pytest.raises(UserError, match="unlabelled: a classifier needs classes"):
        ClassBatches(unlabelled, augmentation=EACH["none"], seed=0, batch_size=4)
    with pytest.raises(UserError, match="8 px cannot be cropped to 16 px"):
        ClassBatches(dataset, augmentation=Augmentation(size=16), seed=0, batch_size=4)
    with pytest.raises(UserError, match="cannot be shared evenly by 3 processes"):
        ClassBatches(dataset, augmentation=EACH["none"], seed=0, batch_size=4, num_processes=3)
