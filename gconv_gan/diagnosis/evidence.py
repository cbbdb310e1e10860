"""The input of the doctor's rules: the config of a run, its log, and what was measured at a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from gconv_gan.config.sections.runs import GANRunConfig

WINDOW = 0.05
"""Length of a window of the log as a share of the run."""


@dataclass(frozen=True)
class Logits:
    """Logits of the discriminator in evaluation mode, on augmented images where training augments them."""

    train: Float[Tensor, " n"]
    fake: Float[Tensor, " m"]
    held_out: Float[Tensor, " h"] | None
    """None: no images were held out of training."""


@dataclass(frozen=True)
class Diversity:
    """Distances between images in pixels, scaled to [0, 1], of as many generated as real images."""

    deviation: float
    """Standard deviation of a pixel over the latents, mean over pixels."""
    fake: Float[Tensor, " n"]
    """Distance of each generated image to its nearest other one."""
    real: Float[Tensor, " n"]
    """Distance of each training image to its nearest other one."""


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a weight, reshaped to (outputs, rest)."""

    layer: str
    """Network and layer, "generator.blocks.0.conv1"."""
    normalised: bool
    """Whether spectral normalisation should hold the largest at 1."""
    largest: float
    small: float
    """Share of singular values below a tenth of the largest."""
    initial: float | None
    """The largest one at initialisation; None if that weight is not known."""


@dataclass(frozen=True)
class LayerGates:
    """Gates of one layer of the averaged generator over many latents."""

    layer: str
    selection: str
    kernels: int
    entropy: float
    """H, mean normalised entropy of a latent's gates."""
    balance: float
    """B, normalised entropy of the mean gates."""
    variance: float
    """Mean variance of a gate over the latents."""
    at_ends: float
    """Share of gates within 1 % of the largest possible value of 0 or of that value; 0 if there is none."""
    least: float
    """Mean gate of the least used kernel as a share of that of the most used one."""
    similarity: float | None
    """Mean absolute cosine between two kernels; None if the layer has a single one."""


@dataclass(frozen=True)
class Measured:
    """Measurements at a checkpoint. What could not be measured is None, with the reason in ``absent``."""

    logits: Logits | None = None
    diversity: Diversity | None = None
    diversity_by_class: Mapping[str, Diversity] = field(default_factory=dict)
    """Name of a class -> distances within it; empty for an unconditional run."""
    deviation: float | None = None
    """Standard deviation of a pixel in [0, 1] over the latents, mean over pixels."""
    spectra: tuple[Spectrum, ...] = ()
    variances: Mapping[str, Float[Tensor, " c"]] = field(default_factory=dict)
    """Running variances of the averaged generator by layer."""
    gates: tuple[LayerGates, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    """Name of a field -> reason."""


@dataclass(frozen=True)
class Evidence:
    """What the rules read."""

    config: GANRunConfig
    records: Sequence[Mapping[str, object]]
    """Lines of metrics.jsonl, oldest first."""
    images_seen: int
    measured: Measured | None = None
    """None during training."""

    def series(self, name: str) -> list[tuple[int, float]]:
        """Return (images seen, value) of every line that has the number ``name``."""
        found: list[tuple[int, float]] = []
        for record in self.records:
            images, value = record["images"], record.get(name)
            if isinstance(value, int | float) and isinstance(images, int | float):
                found.append((int(images), float(value)))
        return found

    def windows(self, name: str) -> tuple[float, float] | None:
        """Return the means of a logged number over the last window of 5 % of the run and the one before it; None without both.

        A window has at least one line, so it is longer where lines are further apart.
        """
        series = self.series(name)
        if len(series) < 2:
            return None
        length = max(WINDOW * self.config.trainer.total_images, series[-1][0] - series[-2][0])
        end = series[-1][0]
        means = []
        for _ in range(2):
            values = [value for images, value in series if end - length < images <= end]
            if not values:
                return None
            means.append(sum(values) / len(values))
            end -= int(length)
        return means[1], means[0]

    def scores(self, *names: str) -> list[tuple[int, float]]:
        """Return the series of the first score during training, "protocol/NAME", that the log has; empty without one."""
        keys = {key for record in self.records for key in record if key.rpartition("/")[2] in names and "/" in key}
        return self.series(min(keys)) if keys else []
