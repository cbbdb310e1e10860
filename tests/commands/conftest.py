import shutil
from pathlib import Path

import pytest

from gconv_gan.commands.train import gan as recipe
from tests.reference.digits_judge import save_judge
from tests.training.tiny import tiny


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a classifier of digits with random weights."""
    return save_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished conditional run on digits with checkpoints at 160, 320 and 480 images, not to be written to."""
    folder = tmp_path_factory.mktemp("run")
    recipe.fit(tiny(folder))
    return folder / "tiny"


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that may be written to."""
    return Path(shutil.copytree(tiny_run, tmp_path / "tiny", ignore=shutil.ignore_patterns("scores")))  # other tests may score it
