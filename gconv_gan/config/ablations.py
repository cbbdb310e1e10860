"""Config of an ablation: one GAN run in several arms, on paired seeds."""

from typing import Annotated, Any, Literal

import tyro
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gconv_gan.config.base import Config, FolderName
from gconv_gan.config.commands import ExperimentCommand, JsonFile


class PairConfig(Config):
    """Two arms whose scores are compared."""

    arm: str
    """The arm that is proposed."""
    against: str
    """The arm it is compared with."""


class AblationConfig(Config):
    """A GAN run, the changes of each arm to it, and the comparisons between arms."""

    name: FolderName
    """Name of the ablation; its runs lie in a folder of this name."""
    question: str
    """The question that the comparisons answer, in one line."""
    base: str
    """File of the GAN run that is varied; relative to this file."""
    run: dict[str, Any] = {}
    """Changes of all arms to it: length, score, data."""
    plugins: tuple[str, ...] = ()
    """Files (mine.py) and modules (other_pkg.parts) that add parts before the configs are read; those of the base, of ``run`` and of arms
    are imported, too."""
    seeds: PositiveInt = 10
    """Every arm is trained with the seeds 0, 1, …"""
    arms: dict[str, dict[str, Any]] = Field(min_length=2)
    """Arm -> its changes to the run."""
    compare: tuple[PairConfig, ...] = Field(min_length=1)
    """The comparisons; their p-values are corrected for their number (Holm)."""
    test: Literal["signs", "t"] = "signs"
    """What decides: signs, the exact permutation test, whose p-value of n seeds is at least 2 / 2ⁿ; t, the paired t-test, which decides
    with fewer seeds but assumes normal differences. Both are printed."""

    @model_validator(mode="after")
    def _pairs_are_of_arms(self) -> "AblationConfig":
        for pair in self.compare:
            for arm in (pair.arm, pair.against):
                if arm not in self.arms:
                    raise ValueError(f"a comparison names the arm '{arm}', which is not among {', '.join(self.arms)}")
        return self


class AblateCommand(ExperimentCommand):
    """Train the arms of an ablation on paired seeds, side by side, score them, and test the differences."""

    config: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG")]
    """TOML file of the ablation."""
    seeds: str | None = None
    """Seeds: 5 (0 to 4), 0..7, or 1,3,4; None: the file's."""
    hours: PositiveFloat | None = None
    """Time limit: all runs stop at the same length, in time to be scored; the same command again continues them."""
    runs_dir: str = "runs/ablate"
    """Folder of the ablations."""
    json_out: JsonFile = None
    """Write the result as JSON."""
    page: str | None = None
    """Folder of the page with curves, pictures and table; None: RUNS_DIR/NAME/page."""
