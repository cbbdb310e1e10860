"""A dry run says what would happen, and leaves nothing behind."""

import json
import re
from pathlib import Path

import pytest

from gconv_gan.recipes import gan
from gconv_gan.recipes.networks import build_networks
from tests.training.tiny import tiny, toml


def test_it_prints_config_networks_and_plan_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gan.main([str(toml(tmp_path)), "--trainer.n-dis", "3", "--dry-run"])
    shown = capsys.readouterr().out
    config = json.JSONDecoder().raw_decode(shown)[0]
    assert config["trainer"]["n_dis"] == 3
    networks = build_networks(tiny(tmp_path, trainer={"n_dis": 3}), 10)
    totals = re.findall(r"^total: (\d+) params, (\d+) MACs$", shown, re.MULTILINE)
    assert [int(count) for count, _ in totals] == [sum(p.numel() for p in network.parameters()) for network in networks]
    # 480 images at 3 x 16 an iteration
    assert "steps: 10 generator steps, 30 discriminator steps, batch 16" in shown
    assert "checkpoints: 3 written, 3 kept" in shown
    assert not (tmp_path / "tiny").exists()
    f_g, f_d = (int(macs) for _, macs in totals)
    assert f"work: {48 * (f_g + 6 * f_d) + 16 * (3 * f_g + 2 * f_d):,} MACs per iteration" in shown


def test_the_disk_it_promises_is_what_a_checkpoint_takes(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_run.parent
    gan.main([str(toml(folder)), "--dry-run"])
    promised = re.search(r"disk: ([\d.]+) MiB per checkpoint", capsys.readouterr().out)
    assert promised is not None
    taken = sum(file.stat().st_size for file in (tiny_run / "checkpoint-480").glob("*.safetensors")) / 2**20
    assert float(promised[1]) == pytest.approx(taken, rel=0.35, abs=0.1)  # headers weigh in a network this small


def test_without_a_config_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    gan.main(["--help"])
    assert capsys.readouterr().out.startswith("usage: accelerate launch train_gan.py CONFIG.toml")
