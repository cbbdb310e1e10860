"""The comparison of pruning criteria: a config is trained, scores and oracle see different images, the result is printed and written."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from gconv_gan.commands.studies.pruning_oracle import main, oracle, weight_norms
from gconv_gan.config.errors import UserError
from gconv_gan.methods.surgery import Units

CONFIG = """
name = "oracle"
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
name = "wrn_10_1"
options = {{ width = 0.25 }}
[optimizer]
kind = "sgd"
learning_rate = 0.05
[trainer]
total_images = 320
batch_size = 32
"""


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_config_is_trained_and_its_criteria_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "digits.toml"
    config.write_text(CONFIG.format(cache=tmp_path / "cache"))
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    options = ["--seeds", "2", "--runs-dir", str(tmp_path / "runs"), "--batches", "2", "--batch-size", "50", "--draws", "5"]
    main([str(config), *options, "--json", str(out), "--png", str(picture)])
    said = capsys.readouterr().out
    assert "2 runs, " in said
    assert "Taylor, second order" in said
    result = json.loads(out.read_text())
    for run in result["runs"]:
        found = run["criteria"]
        assert found["oracle"]["spearman"] == pytest.approx(1)
        assert found["Taylor, second order"]["spearman"] > found["Taylor, first order"]["spearman"] > 0.5
        assert len(run["random_draws"]) == 5
        assert abs(found["random"]["spearman"]) < 0.4
    assert result["runs"][0]["criteria"]["|γ|"] != result["runs"][1]["criteria"]["|γ|"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="training images are needed"):
        main([str(tmp_path / "runs" / "digits-s0"), "--batches", "1000"])


def test_the_oracle_is_the_change_of_the_loss_and_norms_are_divided_by_their_layer_s_mean() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    network[0].weight.data, network[1].weight.data = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.eye(2)
    network.double()
    units = Units({"0": {"outputs": [0, 1]}, "1": {"inputs": [0, 1]}})
    x, y = torch.ones(1, 2).double(), torch.tensor([0])
    loss = [torch.log1p(torch.exp(torch.tensor(gap, dtype=torch.double))) for gap in (2.0, 3.0, -1.0)]
    torch.testing.assert_close(oracle(network, units, [(x, y)]), torch.stack([loss[1] - loss[0], loss[2] - loss[0]]).square())
    raw, by_layer = weight_norms(network, units)
    assert raw.tolist() == [1.0, 9.0]
    torch.testing.assert_close(by_layer, torch.tensor([0.2, 1.8]))
    assert network[0].weight.tolist() == [[1.0, 0.0], [0.0, 3.0]]
