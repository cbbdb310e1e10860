"""Config of a comparison: a small network trained with exchanged layers, methods or other settings, and the claims about them."""

from typing import Annotated, Any, Literal

import tyro
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gconv_gan.config.base import Config, FolderName
from gconv_gan.config.commands import ExperimentCommand

NumberOfMethod = Annotated[str, Field(pattern=r"^[a-z0-9_-]+\.[a-z0-9_]+$")]
"""``KIND.NAME``: a number that a training method reported."""
Measure = Literal["accuracy", "top5", "loss", "calibration_error", "accuracy_gaussian", "accuracy_fgsm", "accuracy_pgd"] | NumberOfMethod
Cost = Literal["parameters", "macs", "step_seconds", "step_bytes"]


class BetterClaim(Config):
    """One arm's measure is higher than another's."""

    kind: Literal["better"] = "better"
    proposed: str
    """The arm that the claim is about."""
    baseline: str | tuple[str, ...]
    """The arm of comparison; of several (learning rates, say) the one with the best mean, so that the choice favours the baseline."""
    measure: Measure = "accuracy"
    """The measure; lower is better for loss and calibration_error."""


class NearClaim(Config):
    """One arm's measure is worse than another's by less than a margin."""

    kind: Literal["near"] = "near"
    proposed: str
    """The arm that the claim is about."""
    baseline: str
    """The arm of comparison."""
    measure: Measure = "accuracy"
    """The measure."""
    margin: PositiveFloat
    """Largest admissible loss of the measure."""


class RangeClaim(Config):
    """A measure of some arms is within bounds for every seed."""

    kind: Literal["range"] = "range"
    arms: tuple[str, ...] = Field(min_length=1)
    """The arms that the claim is about."""
    measure: Measure = "accuracy"
    """What is measured."""
    at_least: float | None = None
    """Lower bound; None: none."""
    at_most: float | None = None
    """Upper bound; None: none."""


class CheaperClaim(Config):
    """The cost of one arm is at most a share of another's."""

    kind: Literal["cheaper"] = "cheaper"
    proposed: str
    """The arm that the claim is about."""
    baseline: str
    """The arm of comparison."""
    cost: Cost
    """The cost that is compared."""
    at_most: PositiveFloat
    """Largest ratio."""


class GrowthClaim(Config):
    """A cost grows as a power of the width, over arms of doubled widths."""

    kind: Literal["growth"] = "growth"
    arms: tuple[str, ...] = Field(min_length=2)
    """Arms in order; each has twice the width of the previous one."""
    cost: Cost = "parameters"
    """The cost."""
    exponent: PositiveFloat
    """Claimed power of the width: 1 is linear."""
    tolerance: PositiveFloat
    """Largest admissible difference of log2 of the ratio of two successive arms from it."""


Claim = Annotated[BetterClaim | NearClaim | RangeClaim | CheaperClaim | GrowthClaim, Field(discriminator="kind")]


def arms_of(claim: Claim) -> tuple[str, ...]:
    """Return the names of the arms of a claim."""
    match claim:
        case GrowthClaim() | RangeClaim():
            return claim.arms
        case BetterClaim(baseline=tuple()):
            return claim.proposed, *claim.baseline
        case _:
            return claim.proposed, str(claim.baseline)


class AttackConfig(Config):
    """Noise and attacks for tests of the trained networks, on a part of the test set."""

    images: PositiveInt = 1000
    """Number of test images, evenly spaced."""
    gaussian: Annotated[float, Field(ge=0)] = 0.0
    """Deviation of Gaussian noise, in units of the pixel range [0, 1]; 0: not tested."""
    fgsm: Annotated[float, Field(ge=0)] = 0.0
    """ε of FGSM in 255ths; 0: not tested."""
    pgd: Annotated[float, Field(ge=0)] = 0.0
    """ε of PGD in 255ths; 0: not tested."""


class ComparisonConfig(Config):
    """A published claim about a layer or a training method, and the paired experiment that tests it."""

    name: FolderName
    """Name of the comparison and of its results."""
    claim: str
    """The published claim in one line."""
    source: str
    """Authors and publication of the claim."""
    setting: str
    """Network and data set, in one line."""
    plugins: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    """Files (mine.py) and modules (other_pkg.parts) that add parts before the config is read; those of ``run`` and of arms are imported,
    too."""
    seeds: PositiveInt = 3
    """Every arm is trained with the seeds 0, 1, …"""
    run: dict[str, Any]
    """Settings shared by the arms: a classifier run without its name and seed."""
    arms: dict[str, dict[str, Any]] = Field(min_length=2)
    """Changes of each arm to these settings: layers, optimisers, ``methods``, …"""
    attacks: AttackConfig = AttackConfig()
    claims: tuple[Claim, ...] = Field(min_length=1)
    """The claims; the verdict is positive if all of them hold."""

    @model_validator(mode="after")
    def _claims_are_of_arms(self) -> "ComparisonConfig":
        for claim in self.claims:
            for arm in arms_of(claim):
                if arm not in self.arms:
                    raise ValueError(f"a claim names the arm '{arm}', which is not among {', '.join(self.arms)}")
        return self


class CompareCommand(ExperimentCommand):
    """Train the same small network with a layer, training method or setting swapped, and test the published claim."""

    comparisons: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[COMPARISON ...]")] = ()
    """Names (files of configs/compare) or TOML files; none: all."""
    seeds: PositiveInt | None = None
    """Number of seeds; None: the comparison's."""
    runs_dir: str = "runs/compare"
    """Folder of the arms' runs; finished ones are not trained again."""
    results: str = "eval/results"
    """Folder of the results, layers_NAME.json and layers_NAME.png."""
    table: bool = False
    """Train nothing: print the table of the stored results, and draw their plots again."""
