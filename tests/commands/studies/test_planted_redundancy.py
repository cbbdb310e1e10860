"""Planted redundancy in a trained classifier: what is estimated and removed is printed and written, and called a reconstruction."""

import json
from pathlib import Path

import pytest

from gconv_gan.commands.studies.planted_redundancy import main
from gconv_gan.config.errors import UserError
from gconv_gan.experiments.plants import PLANTS

CONFIG = """
name = "planted"
standardise = true
[data]
kind = "digits"
split = "train"
cache_dir = "{cache}"
[test_data]
kind = "digits"
split = "test"
cache_dir = "{cache}"
[network]
kind = "named"
name = "convnet"
options = {{ widths = [12, 24], pool_size = 2 }}
norm = {{ kind = "{norm}" }}
[optimizer]
kind = "sgd"
learning_rate = 0.05
[trainer]
total_images = 960
batch_size = 32
"""


def run(folder: Path, *, norm: str) -> dict[str, object]:
    config, out = folder / "digits.toml", folder / "out.json"
    config.write_text(CONFIG.format(cache=folder / "cache", norm=norm))
    options = ["--seeds", "1", "--runs-dir", str(folder / "runs"), "--batches", "20", "--batch-size", "32", "--images", "100"]
    main([str(config), *options, "--json", str(out)])
    result: dict[str, object] = json.loads(out.read_text())["runs"][0]["plants"]
    return result


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_what_is_planted_is_found_and_removed_without_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plants: dict[str, dict[str, dict[str, float]]] = run(tmp_path, norm="none")  # type: ignore[assignment]
    said = capsys.readouterr().out
    assert "Gradient-matrix pruning, a reconstruction" in said
    assert list(plants) == list(PLANTS)
    for name in ("duplicates and dead", "scaled copies"):
        assert plants[name]["rank"] == 12
        assert plants[name]["planting"]["logits"] < 1e-4  # the network computes what it did
    for name in ("duplicates and dead", "scaled copies", "linear dependence"):
        assert f"{name}: C = {plants[name]['channels']}" in said
        assert plants[name]["to r"]["logits"] <= 1e-4 < 1e-2 <= plants[name]["to r - 1"]["logits"]
        assert plants[name]["to r, no repair"]["logits"] >= 1e-2
    assert plants["both kinds"]["rounds"]["channels"] == [24, 18, 17]  # type: ignore[comparison-overlap]


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_network_with_a_norm_between_its_convolutions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="channels are planted between two convolutions without a norm"):
        run(tmp_path, norm="batch")
