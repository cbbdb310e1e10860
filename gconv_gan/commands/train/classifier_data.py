"""The images of a classifier run: training part, validation part, label noise."""

from dataclasses import dataclass

import numpy as np
from accelerate import Accelerator
from jaxtyping import Int64

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.data.batches.class_batches import Augmentation, ClassBatches
from gconv_gan.data.batches.label_noise import symmetric_noise
from gconv_gan.data.batches.subset import stratified
from gconv_gan.data.class_names import listed
from gconv_gan.data.datasets import require_images_of_every_class
from gconv_gan.data.image_dataset import ImageDataset


@dataclass(frozen=True)
class Split:
    """Indices of the training set."""

    training: Int64[np.ndarray, " n"]
    validation: Int64[np.ndarray, " m"]


def require_same_classes(dataset: ImageDataset, test: ImageDataset | None) -> None:
    """Raise ``UserError`` unless both sets (None: not downloaded yet) have the same two or more classes, each with images."""
    if len(dataset.classes) < 2:
        found = f"has the single class '{dataset.classes[0]}'" if dataset.classes else "is unlabelled"
        raise UserError(f"a classifier needs classes, but {dataset.title} {found}: put the pictures of each into a folder of their own")
    require_images_of_every_class(dataset, needed_by="a classifier")
    if test is not None:
        if test.classes != dataset.classes:
            raise UserError(f"test_data has the classes {test.classes}, but data has {dataset.classes}")
        require_images_of_every_class(test, needed_by="a classifier's test")


def splits(config: ClassifierRunConfig, dataset: ImageDataset) -> Split:
    """Return the indices of the training and of the validation images, both with the class proportions of the whole.

    Raises:
        UserError: rounding leaves no image of a class to train on, or no validation images where some were asked for.

    """
    assert dataset.labels is not None
    everything = np.arange(len(dataset))
    validation, rest = stratified(dataset.labels, everything, fraction=config.split.validation, seed=config.seed, stream="validation")
    training, _ = stratified(dataset.labels, rest, fraction=config.split.train, seed=config.seed, stream="subset")
    if len(training) == 0:
        raise UserError(f"split.train {config.split.train} of {len(rest)} images leaves none to train on")
    counts = np.bincount(dataset.labels[training], minlength=len(dataset.classes))
    untrained = [name for name, count in zip(dataset.classes, counts, strict=True) if count == 0]
    if untrained:
        raise UserError(
            f"split.validation {config.split.validation} and split.train {config.split.train} leave no image of the "
            f"class{'es' if len(untrained) > 1 else ''} {listed(untrained)} to train on: "
            "lower split.validation or raise split.train"
        )
    if config.split.validation and len(validation) == 0:
        raise UserError(f"split.validation {config.split.validation} selects no image of any class: raise it, or set it to 0")
    return Split(training, validation)


def batches(
    config: ClassifierRunConfig, dataset: ImageDataset, training: Int64[np.ndarray, " n"], accelerator: Accelerator
) -> ClassBatches:
    """Return the endless training batches of this process, with the label noise of the config."""
    assert dataset.labels is not None
    labels = dataset.labels.copy()
    if config.labels.noise:
        labels[training] = symmetric_noise(
            labels[training], fraction=config.labels.noise, num_classes=len(dataset.classes), seed=config.seed
        )
    how = config.augmentation.model_dump(exclude={"crop_size"})
    return ClassBatches(
        dataset,
        augmentation=Augmentation(size=config.image_size, flip=config.data.flip, **how),
        seed=config.seed,
        batch_size=config.trainer.batch_size,
        indices=training,
        labels=labels,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        micro_batches=config.trainer.micro_batches,
        device=accelerator.device,
        resident=config.data.resident,
    )
