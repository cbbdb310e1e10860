"""Labelled, augmented batches for a classifier.

As in ``loaders``, every draw is a function of the image count and the place in the global batch: the batches do not depend on the number
of processes, and a resumed run has the batches of an uninterrupted one.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from scipy.special import betaincinv
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.data.batches.augment import centre_crop, cutmix, cutmix_box, cutout, mixup, resized_crops, shifted
from gconv_gan.data.batches.shard_order import order_of
from gconv_gan.data.device_images import DeviceImages, Resident
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.reading.transforms import flip, to_unit
from gconv_gan.runtime.random import Stream
from gconv_gan.runtime.sharing import share

PURPOSES = ("flip", "crop", "resized_crop", "cutout", "partners", "mix", "cutmix")  # of the random numbers of a batch


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of training images, in this order: crop, flip, cutout; then mixup or CutMix between images of the batch."""

    size: int
    """Side that the network sees."""
    flip: bool = False
    """Mirror with probability ½."""
    crop_padding: int = 0
    """Pad by reflection on every side and crop back at a uniform place."""
    resized_crop: tuple[float, float] | None = None
    """Range of the area of a random box, as a share of the image's; aspect from 3/4 to 4/3; resampled to ``size``."""
    cutout: int = 0
    """Side of the square set to mid-grey."""
    mixup: float = 0.0
    """α of the Beta(α, α) of the mixing weight; 0: none. With CutMix too, each has probability ½ in each batch."""
    cutmix: float = 0.0
    """α of the Beta(α, α) of the share that stays; 0: none."""


@dataclass(frozen=True)
class LabelledBatch:
    """One process's share of a batch: images [b, 3, S, S] in [-1, 1]; ``labels`` [b] have the factor ``weight``, ``others`` the rest.

    Without mixing ``weight`` is None.
    ``places`` [b] are the images' places in the batch of all processes.
    """

    images: Float32[Tensor, "b 3 s s"]
    labels: Int64[Tensor, " b"]
    others: Int64[Tensor, " b"]
    places: Int64[Tensor, " b"]
    weight: Float32[Tensor, ""] | None


class ClassBatches:
    """Endless labelled batches, addressed by the number of images seen before them.

    Args:
        dataset: the converted data set.
        indices: which of its images are trained on; None: all.
        labels: labels of *all* its images that replace its own (label noise); None: its own.
        augmentation: what is done to the images.
        seed: seed of order and augmentation.
        batch_size: global batch, over all processes.
        process_index: index of this process.
        num_processes: how many processes share the batch.
        micro_batches: number of parts into which each process splits its share.
        device: device of the batch.
        resident: whether the whole set lies there, see ``DeviceImages``.

    Raises:
        UserError: the data set is unlabelled, its images are smaller than the crop, or the batch cannot be shared evenly.

    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        augmentation: Augmentation,
        seed: int,
        batch_size: int,
        indices: Int64[np.ndarray, " m"] | None = None,
        labels: Int64[np.ndarray, " n"] | None = None,
        process_index: int = 0,
        num_processes: int = 1,
        micro_batches: int = 1,
        device: torch.device | str = "cpu",
        resident: Resident = "auto",
    ) -> None:
        if dataset.labels is None:
            raise UserError(f"{dataset.title} is unlabelled: a classifier needs classes")
        if augmentation.size > dataset.manifest.size and augmentation.resized_crop is None:
            raise UserError(f"images of {dataset.manifest.size} px cannot be cropped to {augmentation.size} px; raise data.size")
        if batch_size < 1 or batch_size % num_processes:
            raise UserError(f"the global batch_size {batch_size} cannot be shared evenly by {num_processes} processes")
        self.dataset, self.augmentation = dataset, augmentation
        self.batch_size, self.device = batch_size, torch.device(device)
        self._images = DeviceImages(dataset, self.device, resident=resident)
        self._streams = {purpose: Stream(seed, purpose) for purpose in PURPOSES}
        self._indices = torch.arange(len(dataset)) if indices is None else torch.from_numpy(indices)
        self._labels = torch.from_numpy((dataset.labels if labels is None else labels).copy())
        self._sampler = order_of(dataset, seed=seed, indices=indices)
        self._in_order = True
        self._places = share(batch_size, process_index=process_index, num_processes=num_processes, micro_batches=micro_batches)

    def whole(self) -> "ClassBatches":
        """Return the source of the batches of all processes, which shares images and order with this one."""
        source = copy.copy(self)
        source._places, source._in_order = torch.arange(self.batch_size), False
        return source

    def batch(self, images_seen: int) -> LabelledBatch:
        """Return this process's share of the global batch at ``images_seen``."""
        places = self._places.to(self.device)
        all_places, chosen = self._chosen(images_seen)
        own, *rest = torch.split(self._images(chosen), len(places))
        mine, *theirs = torch.split(chosen, len(places))
        if self._in_order and self._images.expects:
            self._images.expect(self._chosen(images_seen + self.batch_size)[1])
        images, labels = self._augmented(own, images_seen, self._places), self._labels[mine].to(self.device)
        mix = self.augmentation
        if not rest:
            return LabelledBatch(images, labels, labels, places, None)
        partners, others = self._augmented(rest[0], images_seen, all_places[len(places) :]), self._labels[theirs[0]].to(self.device)
        # torch lacks the inverse of the beta distribution: the weight is computed on the host and copied
        choice, quantile = self._streams["mix"].uniform(images_seen, torch.zeros(1, dtype=torch.int64), 2)[0].tolist()
        with_cutmix = bool(mix.cutmix) and (not mix.mixup or choice < 0.5)
        alpha = mix.cutmix if with_cutmix else mix.mixup
        weight = torch.full((), betaincinv(alpha, alpha, quantile), device=self.device)
        if not with_cutmix:
            return LabelledBatch(mixup(images, partners, weight), labels, others, places, weight)
        centre = self._streams["cutmix"].uniform(images_seen, torch.zeros(1, dtype=torch.int64, device=self.device), 2)[0]
        box, weight = cutmix_box(weight, centre, images.shape[-1])
        return LabelledBatch(cutmix(images, partners, box), labels, others, places, weight)

    def _chosen(self, images_seen: int) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]:
        """Return places in the global batch, ours and those of the images that are mixed with ours, and the numbers of their images."""
        chosen = self._indices[self._sampler.indices(images_seen, self.batch_size)]
        places = self._places
        if self.augmentation.mixup or self.augmentation.cutmix:
            # a partner is an image of the global batch, augmented with the numbers of its own place
            places = torch.cat([places, self._streams["partners"].permutation(images_seen, self.batch_size)[places]])
        return places, chosen[places]

    def _augmented(self, images: UInt8[Tensor, "b 3 h w"], images_seen: int, places: Int64[Tensor, " b"]) -> Float32[Tensor, "b 3 s s"]:
        """Return the images at ``places`` of the global batch, each augmented with the numbers of its place."""
        how, at = self.augmentation, (images_seen, places.to(self.device))
        if how.flip:
            images = flip(images, self._streams["flip"].coins(*at))
        if how.crop_padding:
            images = shifted(images, self._streams["crop"].integers(*at, 2, below=2 * how.crop_padding + 1) - how.crop_padding)
        if how.resized_crop is not None:
            boxes = crop_boxes(self._streams["resized_crop"].uniform(*at, 4), side=images.shape[-1], area=how.resized_crop)
            scaled = resized_crops(images, boxes, how.size)
        else:
            scaled = to_unit(centre_crop(images, how.size))
        if how.cutout:
            scaled = cutout(scaled, self._streams["cutout"].integers(*at, 2, below=how.size), how.cutout)
        return scaled


def crop_boxes(numbers: Float32[Tensor, "b 4"], *, side: int, area: tuple[float, float]) -> Float32[Tensor, "b 4"]:
    """Return boxes (top, left, height, width) in an image of side²: area uniform in ``area`` shares, log-uniform aspect 3/4 to 4/3.

    Szegedy et al., arXiv 1409.4842. ``numbers`` are uniform in [0, 1). The side of a box that does not fit is clipped to the image's side
    instead of being drawn again.
    """
    target = (area[0] + (area[1] - area[0]) * numbers[:, 0]) * side**2
    aspect = torch.exp((2 * numbers[:, 1] - 1) * math.log(4 / 3))
    size = torch.stack([(target / aspect).sqrt(), (target * aspect).sqrt()], 1).clamp(max=side)
    return torch.cat([numbers[:, 2:] * (side - size), size], 1)
