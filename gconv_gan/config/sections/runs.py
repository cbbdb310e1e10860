"""Config of a whole GAN run."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from gconv_gan.config.base import Config, Deterministic, EngineName, FolderName, PrecisionName, SampleCount
from gconv_gan.config.schema import Choice, PartConfig, flagged, table
from gconv_gan.config.sections.data import DataConfig
from gconv_gan.config.sections.networks import AnyDiscriminator, AnyGenerator
from gconv_gan.config.sections.objective import ObjectiveConfig
from gconv_gan.config.sections.optim import AnyOptimizer, AnySchedule, EmaConfig, require_fitting_optimizers


class TrainerConfig(Config):
    """Length, batch and cadence of training. Everything is counted in real images seen by the discriminator."""

    total_images: PositiveInt
    """Length of the run."""
    batch_size: PositiveInt = 64
    """Global batch, over all processes and micro-batches."""
    balance: Literal["none", "per_class", "overall"] = "none"
    """Real images: each once an epoch (none), or every class equally often, in each batch (per_class) or in each epoch (overall)."""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = Field(default=0.0, exclude_if=lambda share: share == 0)
    """Share of the real images (of every class) that are not trained on: status lines and the doctor compare the discriminator's logits on
    them with those on training images."""
    n_dis: PositiveInt = 1
    """Discriminator steps per generator step."""
    micro_batches: PositiveInt = 1
    """Split each process's batch and accumulate gradients."""
    max_grad_norm: PositiveFloat | None = None
    """Clip each network's gradient to this norm."""
    batch_statistics: Literal["global", "process"] = "global"
    """Batch of the statistics of BatchNorm in training: that of all processes, or that of one process."""
    precision: PrecisionName | None = None
    """fp32: exact products; tf32: in TF32 on a CUDA device; bf16: autocast of both networks' forward passes; None: bf16 if accelerate's
    launcher says so, else tf32."""
    engine: EngineName = "auto"
    """eager: an iteration is run operation by operation; cuda_graph: captured once and replayed; auto: captured where that is possible."""
    deterministic: Deterministic = "auto"
    """On a CUDA device, auto: deterministic kernels where they exist; true: refuse operations without one; false: the fastest kernels."""
    measure: bool | Literal["auto"] = Field(default="auto", exclude_if=lambda value: value == "auto")
    """Time the forms of convolutions and the memory layouts before a new run and keep the fastest; auto: on a CUDA device. The result is
    stored for later runs, and a run keeps its own."""
    log_every: PositiveInt = 6_400
    """Images between status lines."""
    sample_every: PositiveInt = 64_000
    """Images between sample grids."""
    checkpoint_every: PositiveInt = 64_000
    """Images between checkpoints."""
    keep_checkpoints: PositiveInt = 3
    """Number of newest checkpoints kept on disk."""

    @model_validator(mode="after")
    def _divisible(self) -> "TrainerConfig":
        if self.batch_size % self.micro_batches:
            raise ValueError(f"batch_size {self.batch_size} is not divisible by micro_batches {self.micro_batches}")
        return self

    @property
    def images_per_iteration(self) -> int:
        """Return the real images of one iteration (n_dis discriminator steps, one generator step)."""
        return self.batch_size * self.n_dis


class EvaluationConfig(Config):
    """The score of the averaged generator during training."""

    every: NonNegativeInt = 0
    """Images between scores; 0: never."""
    protocol: str = "fid2k"
    """A named protocol: fid2k, or fd2k_lite0 without Inception's weights. Its first number decides the best checkpoint."""
    metrics: tuple[Annotated[str, Choice("METRICS", name_only=True)], ...] | None = Field(default=None, exclude_if=lambda names: not names)
    """Metrics to compute, in the order of METRICS; None: those of the protocol."""
    extractor: str | None = None
    """inception, efficientnet_lite0, checkpoint:PATH (and their variants) or another of EXTRACTORS; None: the protocol's."""
    weights: str | None = None
    """File of Inception weights; None: its default path."""
    num_fake: SampleCount | None = None
    """Generated images per score; None: the protocol's number."""
    num_real: SampleCount | None = None
    """Training images in the reference; None: the protocol's number."""
    batch_norm: Literal["eval", "standing"] = "eval"
    """BatchNorm of the scored generator: running statistics, or statistics re-estimated over 16 batches."""
    seed: NonNegativeInt = 0
    """Seed of the latents, the labels and the choice of training images: independent of the training seed."""


class GANRunConfig(Config):
    """A GAN run: data, two networks, objective, optimisers, cadence."""

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
    conditional: bool = False
    """Condition both networks on the class: the generator's norms, the discriminator's projection head."""
    data: Annotated[DataConfig, Choice("DATASETS")]
    generator: Annotated[AnyGenerator, Choice("GENERATORS", kind="resnet")]
    discriminator: Annotated[AnyDiscriminator, Choice("DISCRIMINATORS", kind="resnet")]
    start_from: str | None = Field(default=None, exclude_if=lambda folder: folder is None)
    """Folder of a GAN's run or of an exported generator whose weights the networks start with, where names and shapes are equal.
    A structure that a training method changed (pruning, factorisation) is taken over too."""
    fork: str | None = Field(default=None, exclude_if=lambda folder: folder is None)
    """RUN or RUN@IMAGES: a new run goes on from that checkpoint of another run, the newest by default, with the settings of this config:
    weights, average, moments of the optimisers and counters are those of the checkpoint."""
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)  # type: ignore[arg-type]  # its choices have defaults when resolved
    augment: Annotated[PartConfig, Choice("AUGMENTATIONS", default="none")]
    generator_optimizer: Annotated[AnyOptimizer, Choice("OPTIMIZERS", default="adam", kind="adam")]
    discriminator_optimizer: Annotated[AnyOptimizer, Choice("OPTIMIZERS", default="adam", kind="adam")]
    schedule: Annotated[AnySchedule, Choice("SCHEDULES", default="constant")]
    ema: EmaConfig = EmaConfig()
    trainer: TrainerConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    methods: tuple[Annotated[PartConfig, Choice("METHODS")], ...] = Field((), exclude_if=lambda methods: not methods)
    """Training methods that act on the networks, one ``[[methods]]`` each, in this order."""

    @model_validator(mode="after")
    def _one_origin(self) -> "GANRunConfig":
        if self.fork is not None and self.start_from is not None:
            raise ValueError("fork and start_from both say with which weights the run starts: give one of them")
        return self

    @model_validator(mode="after")
    def _classes_for_what_needs_them(self) -> "GANRunConfig":
        if not self.conditional and self.generator.needs_classes is not None:
            raise ValueError(f"{self.generator.needs_classes} needs classes: set conditional = true, or choose something else there")
        return self

    @model_validator(mode="after")
    def _unlabelled_data_has_no_classes(self) -> "GANRunConfig":
        if self.conditional and getattr(self.data, "labels", None) == "none":
            raise ValueError(
                'conditional = true needs classes, but data.labels = "none": choose what the classes are, or train unconditionally'
            )
        return self

    @model_validator(mode="after")
    def _the_methods_fit_the_optimizers(self) -> "GANRunConfig":
        optimizers = {"generator": self.generator_optimizer, "discriminator": self.discriminator_optimizer}
        require_fitting_optimizers(self.methods, optimizers, max_grad_norm=self.trainer.max_grad_norm)
        return self

    @model_validator(mode="after")
    def _parts_of_the_objective_fit(self) -> "GANRunConfig":
        loss = self.objective.loss
        if flagged(self.augment, "reads_signs", "augment") and table("LOSSES")[loss].boundary is None:
            raise ValueError(
                f'augment.kind = "{self.augment.kind}" measures overfitting by the signs of logits, which are not defined under '
                f'objective.loss = "{loss}": '
                'use augment.kind = "scheduled", or another loss'
            )
        if self.objective.top_k.final_fraction < 1 and self.trainer.micro_batches > 1:
            raise ValueError(
                "objective.top_k chooses among all images of a batch, which trainer.micro_batches > 1 never has at once: use one of them"
            )
        return self

    @model_validator(mode="after")
    def _parts_of_the_discriminator_fit(self) -> "GANRunConfig":
        discriminator, penalty = self.discriminator, self.objective.penalty.kind
        if discriminator.coupling is not None and penalty != "none":
            raise ValueError(
                f"{discriminator.coupling} lets an image's logit depend on the other images of its batch, so objective.penalty.kind = "
                f'"{penalty}" would not penalise the gradient of a function of one image: take block_norm.kind = "group" or "none" without '
                "whitening, or no penalty"
            )
        conv = getattr(discriminator, "conv", None)
        if conv is not None and conv.kind == "invariant":
            if discriminator.norm.kind == "conv_norm":
                raise ValueError(
                    'discriminator.norm.kind = "conv_norm" makes every convolution a ConvNorm2d, which discriminator.conv.kind = '
                    '"invariant" is not: choose one of them'
                )
            if conv.whiten and discriminator.norm.kind == "spectral":
                raise ValueError(
                    "discriminator.conv.whiten = true multiplies each kernel by a whitening matrix, which undoes "
                    'discriminator.norm.kind = "spectral": set whiten = false, or norm.kind = "none"'
                )
        return self
