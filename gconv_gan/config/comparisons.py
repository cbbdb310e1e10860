"""Config of a comparison: one small network trained with a layer swapped, and what is claimed of the swap."""

from typing import Annotated, Any, Literal

import tyro
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gconv_gan.config.base import Config, FolderName

Measure = Literal["accuracy", "top5", "loss", "calibration_error", "accuracy_gaussian", "accuracy_fgsm", "accuracy_pgd"]
Cost = Literal["parameters", "macs", "step_seconds", "step_bytes"]


class BetterClaim(Config):
    """One arm's measure is higher than another's."""

    kind: Literal["better"] = "better"
    proposed: str
    """The arm of which it is claimed."""
    baseline: str
    """The arm it is compared with."""
    measure: Measure = "accuracy"
    """What is measured; the lower the better for loss and calibration_error."""


class NearClaim(Config):
    """One arm's measure is worse than another's by less than a margin."""

    kind: Literal["near"] = "near"
    proposed: str
    """The arm of which it is claimed."""
    baseline: str
    """The arm it is compared with."""
    measure: Measure = "accuracy"
    """What is measured."""
    margin: PositiveFloat
    """By how much it may be worse."""


class CheaperClaim(Config):
    """One arm costs at most a share of what another does."""

    kind: Literal["cheaper"] = "cheaper"
    proposed: str
    """The arm of which it is claimed."""
    baseline: str
    """The arm it is compared with."""
    cost: Cost
    """What is counted, or timed."""
    at_most: PositiveFloat
    """Largest ratio."""


class GrowthClaim(Config):
    """A cost grows as a power of the width, over arms of doubled widths."""

    kind: Literal["growth"] = "growth"
    arms: tuple[str, ...] = Field(min_length=2)
    """Each has twice the width of the one before it."""
    cost: Cost = "parameters"
    """What is counted."""
    exponent: PositiveFloat
    """Claimed power of the width: 1 is linear."""
    tolerance: PositiveFloat
    """By how much log2 of each ratio of neighbours may differ from it."""


Claim = Annotated[BetterClaim | NearClaim | CheaperClaim | GrowthClaim, Field(discriminator="kind")]


class AttackConfig(Config):
    """What the trained networks are tested against, on the first images of the test set."""

    images: PositiveInt = 1000
    """How many."""
    gaussian: Annotated[float, Field(ge=0)] = 0.0
    """Deviation of Gaussian noise, in units of the pixel range [0, 1]; 0: not tested."""
    fgsm: Annotated[float, Field(ge=0)] = 0.0
    """ε of FGSM in 255ths; 0: not tested."""
    pgd: Annotated[float, Field(ge=0)] = 0.0
    """ε of PGD in 255ths; 0: not tested."""


class ComparisonConfig(Config):
    """A published claim about a layer, and the small paired experiment that tests it."""

    name: FolderName
    """Name of the comparison and of its results."""
    claim: str
    """The published claim in one line."""
    source: str
    """Who claims it, where."""
    setting: str
    """What is trained on what, in one line."""
    seeds: PositiveInt = 3
    """Every arm is trained with the seeds 0, 1, …"""
    run: dict[str, Any]
    """What the arms share: a classifier run without its name and seed."""
    arms: dict[str, dict[str, Any]] = Field(min_length=2)
    """What each arm changes in it."""
    attacks: AttackConfig = AttackConfig()
    claims: tuple[Claim, ...] = Field(min_length=1)
    """All of them must hold."""

    @model_validator(mode="after")
    def _claims_are_of_arms(self) -> "ComparisonConfig":
        for claim in self.claims:
            named = claim.arms if isinstance(claim, GrowthClaim) else (claim.proposed, claim.baseline)
            for arm in named:
                if arm not in self.arms:
                    raise ValueError(f"a claim names the arm '{arm}', which is not among {', '.join(self.arms)}")
        return self


class CompareCommand(Config):
    """Train the same small network with a layer swapped, and say whether the published claim holds."""

    comparisons: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[COMPARISON ...]")] = ()
    """Names (files of configs/compare) or TOML files; none: all."""
    seeds: PositiveInt | None = None
    """Number of seeds; None: the comparison's."""
    images: PositiveInt | None = None
    """Images each arm trains on per seed; None: the comparison's."""
    data_path: str | None = None
    """Where the data set lies; None: where the comparison says."""
    cache_dir: str | None = None
    """Where converted data are kept; None: where the comparison says."""
    runs_dir: str = "runs/compare"
    """Folder of the arms' runs; finished ones are not trained again."""
    results: str = "eval/results"
    """Folder of the results, layers_NAME.json and layers_NAME.png."""
    table: bool = False
    """Train nothing: print the table of the results that are there, and draw their plots anew."""
