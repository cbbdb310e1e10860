"""The resolved form of every GAN config: a changed default changes the golden file of every config that uses it.

After a change that is meant: ``UPDATE_GOLDEN=1 pytest tests/config/test_golden.py`` writes the files anew, to be read in the diff.
"""

import json
import os
from pathlib import Path

import pytest

from gconv_gan.config.load import load_config
from gconv_gan.config.sections.runs import GANRunConfig

GOLDEN = Path(__file__).parent / "golden"
CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "gan").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_resolves_to_its_golden_values(path: Path) -> None:
    resolved = load_config(GANRunConfig, path).model_dump(mode="json")
    golden = GOLDEN / f"{path.stem}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(json.dumps(resolved, indent=2) + "\n")
    assert json.loads(golden.read_text()) == resolved


def test_no_golden_file_has_lost_its_config() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {path.stem for path in CONFIGS}
