"""Commands under Accelerate's launcher: two processes train like one, and a kill changes no bit."""

from pathlib import Path

import pytest

from gconv_gan.commands.studies.reproducibility import CLASSIFIER, GAN, RunCommand, distance
from gconv_gan.commands.train import gan as recipe
from gconv_gan.config.errors import UserError
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.checkpoint import checkpoints
from tests.training.tiny import tiny, toml
from tests.training.tiny_classifier import tiny_classifier

IMAGES = 480


def command(folder: Path, name: str, processes: int, config: Path) -> RunCommand:
    return RunCommand(GAN, config, name, processes, folder, IMAGES, checkpoint_every=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("launched")


@pytest.fixture(scope="module")
def two(folder: Path) -> RunCommand:
    run = command(folder, "two", 2, toml(folder))
    run.finish()
    return run


def test_two_processes_train_what_one_trains(two: RunCommand, folder: Path) -> None:
    one = command(folder, "one", 1, toml(folder))
    recipe.fit(tiny(folder, name="one", trainer={"checkpoint_every": 64, "log_every": 1}))
    apart = distance(one, two)
    # 15 iterations of float32 sums in another order; another seed differs by more than 0.1
    assert 0 < apart.weights < 1e-3
    assert apart.loss < 1e-4
    other = command(folder, "other", 1, toml(folder))
    recipe.fit(tiny(folder, name="other", seed=4, trainer={"checkpoint_every": IMAGES, "log_every": 1}))
    assert distance(one, other).weights > 0.1


def test_a_killed_pair_of_processes_ends_with_the_same_bits(two: RunCommand, folder: Path) -> None:
    killed = command(folder, "killed", 2, toml(folder))
    seen = killed.kill_at(200, 0.0)
    assert 200 <= seen < IMAGES
    assert checkpoints(killed.folder)[0][0] < IMAGES
    killed.finish()
    assert killed.hashes() == two.hashes()


@pytest.mark.slow
def test_a_killed_classifier_with_dropout_ends_with_the_same_bits(folder: Path) -> None:
    config = folder / "classifier.json"
    config.write_text(tiny_classifier(folder).model_dump_json())
    uninterrupted, killed = (
        RunCommand(CLASSIFIER, config, name, 1, folder, IMAGES, checkpoint_every=80) for name in ("uninterrupted", "broken")
    )
    uninterrupted.finish()
    assert 200 <= killed.kill_at(200, 0.0) < IMAGES
    killed.finish()
    assert killed.hashes() == uninterrupted.hashes()
    apart = distance(uninterrupted, killed)
    assert (apart.weights, apart.loss) == (0, 0)


def test_a_folder_that_is_trained_in_is_refused(folder: Path) -> None:
    run = command(folder, "occupied", 1, toml(folder))
    with RunFolder(run.folder).alone(), pytest.raises(UserError, match="another process is training in .*occupied"):
        recipe.fit(tiny(folder, name="occupied"))
