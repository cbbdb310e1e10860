"""Config of an ablation: one run, a GAN's or a classifier's, in several arms on paired seeds, and claims about the arms."""

from typing import Annotated, Any, Literal

import tyro
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gconv_gan.config.base import Config, FolderName
from gconv_gan.config.commands import ExperimentCommand, JsonFile

Cost = Literal["parameters", "macs", "step_seconds", "memory"]


class _Compare(Config):
    published: str | None = None
    """The published number, where the comparison is a published claim."""


class _Pair(_Compare):
    arm: str
    """The arm that is proposed."""
    measure: str | None = None
    """Score of a GAN, measure of a classifier, or ``KIND.NAME``, a number that a training method reported; None: a GAN's first score, a
    classifier's accuracy."""


class DifferenceConfig(_Pair):
    """Two arms are compared; nothing is claimed."""

    kind: Literal["difference"] = "difference"
    against: str
    """The arm it is compared with."""


class BetterClaim(_Pair):
    """One arm's measure is better than another's."""

    kind: Literal["better"] = "better"
    against: str | tuple[str, ...]
    """The arm of comparison; of several (learning rates, say) the one with the best mean, so that the choice favours the baseline."""


class NearClaim(_Pair):
    """One arm's measure is worse than another's by less than a margin."""

    kind: Literal["near"] = "near"
    against: str
    """The arm of comparison."""
    margin: PositiveFloat
    """Largest admissible loss of the measure."""


class RangeClaim(_Compare):
    """A measure of some arms is within bounds for every seed."""

    kind: Literal["range"] = "range"
    arms: tuple[str, ...] = Field(min_length=1)
    """The arms that the claim is about."""
    measure: str | None = None
    """What is measured; None: a GAN's first score, a classifier's accuracy."""
    at_least: float | None = None
    """Lower bound; None: none."""
    at_most: float | None = None
    """Upper bound; None: none."""


class CheaperClaim(_Compare):
    """The cost of one arm is at most a share of another's."""

    kind: Literal["cheaper"] = "cheaper"
    arm: str
    """The arm that the claim is about."""
    against: str
    """The arm of comparison."""
    cost: Cost
    """The cost that is compared."""
    at_most: PositiveFloat
    """Largest ratio."""


class GrowthClaim(_Compare):
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


Claim = BetterClaim | NearClaim | RangeClaim | CheaperClaim | GrowthClaim
Comparison = Annotated[DifferenceConfig | Claim, Field(discriminator="kind")]


class AttackConfig(Config):
    """Noise and attacks for tests of trained classifiers, on a part of the test set."""

    images: PositiveInt = 1000
    """Number of test images, evenly spaced."""
    gaussian: Annotated[float, Field(ge=0)] = 0.0
    """Deviation of Gaussian noise, in units of the pixel range [0, 1]; 0: not tested."""
    fgsm: Annotated[float, Field(ge=0)] = 0.0
    """ε of FGSM in 255ths; 0: not tested."""
    pgd: Annotated[float, Field(ge=0)] = 0.0
    """ε of PGD in 255ths; 0: not tested."""


class AblationConfig(Config):
    """A run, the changes of each arm to it, and the comparisons between arms."""

    name: FolderName
    """Name of the ablation; its runs lie in a folder of this name."""
    question: str
    """The question that the comparisons answer, or the published claim that they test, in one line."""
    source: str | None = None
    """Authors and publication of the claim."""
    setting: str | None = None
    """Network and data set, in one line."""
    base: str | None = None
    """File of the run that is varied, a GAN's or a classifier's; relative to this file. None: ``run`` is the whole run."""
    run: dict[str, Any] = {}
    """Changes of all arms to it: length, score, data."""
    plugins: tuple[str, ...] = ()
    """Files (mine.py) and modules (other_pkg.parts) that add parts before the configs are read; those of the base, of ``run`` and of arms
    are imported, too."""
    seeds: PositiveInt = 10
    """Every arm is trained with the seeds 0, 1, …"""
    arms: dict[str, dict[str, Any]] = Field(min_length=2)
    """Arm -> its changes to the run: layers, optimisers, ``methods``, …"""
    attacks: AttackConfig = AttackConfig()
    """Tests of classifiers."""
    compare: tuple[Comparison, ...] = Field(min_length=1)
    """The comparisons, and claims about them; the p-values of differences are corrected for their number (Holm)."""
    test: Literal["signs", "t"] = "signs"
    """What decides a difference: signs, the exact permutation test, whose p-value of n seeds is at least 2 / 2ⁿ; t, the paired t-test,
    which decides with fewer seeds but assumes normal differences. Both are printed."""

    @model_validator(mode="after")
    def _comparisons_are_of_arms(self) -> "AblationConfig":
        for comparison in self.compare:
            for arm in arms_of(comparison):
                if arm not in self.arms:
                    raise ValueError(f"a comparison names the arm '{arm}', which is not among {', '.join(self.arms)}")
        return self


def arms_of(comparison: Comparison) -> tuple[str, ...]:
    """Return the names of the arms of a comparison."""
    match comparison:
        case GrowthClaim() | RangeClaim():
            return comparison.arms
        case BetterClaim(against=tuple()):
            return comparison.arm, *comparison.against
        case _:
            return comparison.arm, str(comparison.against)


class AblationOptions(ExperimentCommand):
    """Options of every command that runs ablations."""

    seeds: str | None = None
    """Seeds: 5 (0 to 4), 0..7, or 1,3,4; None: the file's."""


class AblateCommand(AblationOptions):
    """Train the arms of an ablation on paired seeds, side by side, score them, and test the differences."""

    config: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG")]
    """TOML file of the ablation."""
    hours: PositiveFloat | None = None
    """Time limit: all runs stop at the same length, in time to be scored; the same command again continues them. GANs only."""
    runs_dir: str = "runs/ablate"
    """Folder of the ablations."""
    json_out: JsonFile = None
    """Write the result as JSON."""
    page: str | None = None
    """Folder of the page with curves, pictures and table; None: RUNS_DIR/NAME/page."""


class CompareCommand(AblationOptions):
    """Run ablations of small classifiers, each a published claim about a layer, a training method or a setting."""

    comparisons: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[COMPARISON ...]")] = ()
    """Names (files of configs/compare) or TOML files; none: all."""
    runs_dir: str = "runs/compare"
    """Folder of the arms' runs; finished ones are not trained again."""
    results: str = "eval/results"
    """Folder of the results, layers_NAME.json and layers_NAME.png."""
    table: bool = False
    """Train nothing: print the table of the stored results, and draw their plots again."""
