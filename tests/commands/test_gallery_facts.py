"""The rows of a gallery page on the training settings."""

from pathlib import Path

from gconv_gan.commands.gallery import details
from tests.training.tiny import tiny


def test_rows_have_capitals_the_training_seed_and_plural_forms(tmp_path: Path) -> None:
    found = details(tiny(tmp_path), g_steps=1200, parameters=34567)
    assert all(name[0].isupper() for name in found)
    assert (found["Training seed"], found["Generator steps"], found["Parameters of the generator"]) == ("3", "1,200", "34,567")
    assert found["Batch"] == "16, 2 discriminator steps per generator step"
    one = details(tiny(tmp_path, trainer={"n_dis": 1}), g_steps=1, parameters=1)
    assert one["Batch"] == "16, 1 discriminator step per generator step"
