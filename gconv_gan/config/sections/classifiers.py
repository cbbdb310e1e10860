"""Config of a classifier run."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from gconv_gan.config.base import Config, Deterministic, EngineName, FolderName, PrecisionName
from gconv_gan.config.ranges import Share
from gconv_gan.config.schema import Choice, PartConfig
from gconv_gan.config.sections.data import DataConfig
from gconv_gan.config.sections.optim import AnyOptimizer, AnySchedule, require_fitting_optimizers


class AugmentationConfig(Config):
    """Augmentation of the training images after ``data.flip``."""

    crop_size: PositiveInt | None = None
    """Side of the network's input, a centre crop in tests; None: data.size."""
    crop_padding: NonNegativeInt = 0
    """Pad by reflection on every side and crop the old size at a uniform place (CIFAR: 4)."""
    resized_crop: tuple[Share, Share] | None = None
    """Range of the share of the area that a random box covers, which is then resampled (ImageNet: 0.08 to 1)."""
    cutout: NonNegativeInt = 0
    """Side of a square set to mid-grey (CIFAR-10: 16)."""
    mixup: NonNegativeFloat = 0.0
    """α of mixup's Beta distribution; 0: none."""
    cutmix: NonNegativeFloat = 0.0
    """α of CutMix's Beta distribution; 0: none. With both, each has probability ½ in each batch."""


class SplitConfig(Config):
    """Training and validation parts of the training images."""

    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of every class that is held out for validation, which chooses the best checkpoint."""
    train: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of every class, without the validation images, that is used for training."""


class LabelsConfig(Config):
    """Changes of the training labels."""

    noise: Share = 0.0
    """Share of the labels replaced by a uniform draw among the other classes."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Label smoothing: probability that the target distributes over all classes."""


class AverageConfig(Config):
    """Exponential average of the weights, counted in images; with an average, its weights are tested."""

    half_life_images: NonNegativeInt = 0
    """Images after which the factor of an old weight is halved; 0: no average."""
    ramp: PositiveFloat | None = None
    """Hold the half-life at most at ramp · images seen, so that early averages do not contain the initial weights; None: no ramp."""


class ClassifierTrainerConfig(Config):
    """Length, batch and cadence of training, in images."""

    total_images: PositiveInt
    """Length of the run."""
    batch_size: PositiveInt = 64
    """Global batch, over all processes and micro-batches."""
    micro_batches: PositiveInt = 1
    """Split each process's batch and accumulate gradients."""
    max_grad_norm: PositiveFloat | None = None
    """Clip the gradient to this norm."""
    precision: PrecisionName | None = None
    """fp32: exact products; tf32: in TF32 on a CUDA device; bf16: autocast of the forward pass; None: bf16 if accelerate's
    launcher says so, else tf32."""
    engine: EngineName = "auto"
    """eager: an iteration is run operation by operation; cuda_graph: captured once and replayed; auto: captured where that is possible."""
    deterministic: Deterministic = "auto"
    """On a CUDA device, auto: deterministic kernels where they exist; true: refuse operations without one; false: the fastest kernels."""
    measure: bool | Literal["auto"] = Field(default="auto", exclude_if=lambda value: value == "auto")
    """Time the forms of convolutions and the memory layouts before a new run and keep the fastest; auto: on a CUDA device. The result is
    stored for later runs, and a run keeps its own."""
    log_every: PositiveInt = 12_800
    """Images between status lines."""
    checkpoint_every: PositiveInt = 500_000
    """Images between checkpoints."""
    keep_checkpoints: PositiveInt = 2
    """Number of newest checkpoints kept on disk, in addition to the best."""

    @model_validator(mode="after")
    def _divisible(self) -> "ClassifierTrainerConfig":
        if self.batch_size % self.micro_batches:
            raise ValueError(f"batch_size {self.batch_size} is not divisible by micro_batches {self.micro_batches}")
        return self


class HeldOutConfig(Config):
    """Tests during training, and choice of the checkpoint that becomes the model."""

    every: NonNegativeInt = 0
    """Images between tests on the validation images, or on ``test_data`` without a validation part; 0: only at the end."""
    select: Literal["last", "best"] = "last"
    """Which weights become ``model.safetensors``: the last, or those with the lowest error on the validation images."""


class ClassifierRunConfig(Config):
    """A classifier run: data, network, augmentation, optimiser, length."""

    name: FolderName
    """Name of the run's folder."""
    runs_dir: str = "runs"
    """Folder of all runs."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random draw."""
    plugins: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    """Files (mine.py) and modules (other_pkg.parts) that add parts before the config is read."""
    trackers: tuple[Annotated[str, Choice("TRACKERS", name_only=True)], ...] = Field(
        ("tensorboard",), exclude_if=lambda names: names == ("tensorboard",)
    )
    """Where the run's numbers go besides metrics.jsonl: tensorboard, wandb, mlflow, trackio and others of TRACKERS, or none."""
    data: Annotated[DataConfig, Choice("DATASETS")]
    test_data: Annotated[DataConfig, Choice("DATASETS")]
    """Test data of the final accuracy."""
    split: SplitConfig = SplitConfig()
    labels: LabelsConfig = LabelsConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    standardise: bool = False
    """Bring each colour channel to mean 0 and deviation 1 over the training images; otherwise pixels go from -1 to 1."""
    network: Annotated[PartConfig, Choice("CLASSIFIERS", default="digits_classifier")]
    start_from: str | None = None
    """Folder of a classifier trained here, with the same network but any classes: all its weights except the head's are copied."""
    optimizer: Annotated[AnyOptimizer, Choice("OPTIMIZERS", default="adam")]
    schedule: Annotated[AnySchedule, Choice("SCHEDULES", default="constant")]
    average: AverageConfig = AverageConfig()
    trainer: ClassifierTrainerConfig
    evaluation: HeldOutConfig = HeldOutConfig()
    methods: tuple[Annotated[PartConfig, Choice("METHODS")], ...] = Field((), exclude_if=lambda methods: not methods)
    """Training methods that act on the networks, one ``[[methods]]`` each, in this order."""

    @model_validator(mode="after")
    def _the_test_images_choose_nothing(self) -> "ClassifierRunConfig":
        if self.evaluation.select == "best" and self.split.validation == 0:
            raise ValueError('evaluation.select = "best" needs split.validation above 0: the test images must not choose the checkpoint')
        if self.evaluation.select == "best" and self.evaluation.every == 0:
            raise ValueError('evaluation.select = "best" needs evaluation.every above 0: one test leaves nothing to choose')
        return self

    @model_validator(mode="after")
    def _the_images_are_normalised_once(self) -> "ClassifierRunConfig":
        norm = getattr(self.network, "norm", None)
        if self.standardise and getattr(norm, "normalise_input", False):
            raise ValueError("standardise and network.norm.normalise_input both normalise the images: choose one")
        return self

    @model_validator(mode="after")
    def _the_methods_fit_the_optimizer(self) -> "ClassifierRunConfig":
        require_fitting_optimizers(self.methods, {"classifier": self.optimizer}, max_grad_norm=self.trainer.max_grad_norm)
        return self

    @model_validator(mode="after")
    def _the_sizes_agree(self) -> "ClassifierRunConfig":
        if self.data.size != self.test_data.size:
            raise ValueError(f"data.size {self.data.size} and test_data.size {self.test_data.size} differ")
        if self.image_size > self.data.size:
            raise ValueError(
                f"augmentation.crop_size {self.image_size} is larger than data.size {self.data.size}, and test images are cut from the "
                "middle: raise data.size and test_data.size, or lower crop_size"
            )
        return self

    @property
    def image_size(self) -> int:
        """Return the side of the images that the network sees."""
        return self.augmentation.crop_size or self.data.size
