"""The doctor on healthy runs and on runs made sick on purpose: trained here, or by their stored logs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.commands import doctor
from gconv_gan.commands.train.gan import fit
from gconv_gan.config.errors import UserError
from gconv_gan.diagnosis.diagnose import Watch
from gconv_gan.runtime.tracking import read_metrics
from tests.diagnosis.sick import FOUND, LOGGED, LOGS, RUNS, few_pictures, held_out_pictures, sick


def examined(run: Path, out: Path, *options: str) -> dict[str, Any]:
    doctor.main([str(run), "--json", str(out), *options])
    content: dict[str, Any] = json.loads(out.read_text())
    return {finding["rule"]: finding for finding in content["findings"]}


def begun(findings: dict[str, Any]) -> set[str]:
    return {rule for rule, finding in findings.items() if finding["severity"] in ("act", "watch")}


@pytest.mark.parametrize("name", LOGGED)
def test_a_stored_log_shows_what_its_run_suffers_from(name: str, tmp_path: Path) -> None:
    log = read_metrics(LOGS / f"{name}.jsonl")
    watch, said = Watch(sick(name, tmp_path)), set[str]()
    for end in range(1, len(log) + 1):
        said |= {finding.rule for finding in watch.begun(log[:end])}
    assert said >= LOGGED[name]
    assert said == set() or LOGGED[name]


def test_a_healthy_run_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(sick("healthy", tmp_path, trainer={"total_images": 16_000, "log_every": 800}))
    assert "doctor:" not in (tmp_path / "healthy" / "log.txt").read_text()
    capsys.readouterr()
    findings = examined(tmp_path / "healthy", tmp_path / "d.json")
    printed = capsys.readouterr().out
    assert begun(findings) == set(), printed
    measured = {rule for rule, finding in findings.items() if finding["severity"] == "fine"}
    assert measured >= {"collapse", "overfitting", "separation", "diversity", "spectral_norm", "spectral_growth", "gates_ignore_latent"}
    assert "fine   " in printed
    assert "not measured  recall_fall: no recall or coverage was scored twice" in printed
    (lags,) = (line for line in printed.splitlines() if "average_lags" in line)
    assert re.search(
        rf": gconv-gan score {tmp_path / 'healthy'} --protocol \w+( --download true)?, and again with --generator-weights raw$", lags
    )


def test_overfitting_to_twenty_pictures_is_named_in_the_log_and_by_the_doctor(tmp_path: Path) -> None:
    few = {"conditional": False, "data": {"path": str(few_pictures(tmp_path / "few", 40))}, "discriminator": {"norm": {"kind": "none"}}}
    trainer = {"total_images": 7_200, "log_every": 480, "batch_size": 20, "n_dis": 2, "held_out": 0.5}
    fit(sick("few_images", tmp_path, **few, trainer=trainer))
    said = [line for line in (tmp_path / "few_images" / "log.txt").read_text().splitlines() if "overfitting: the share r_v" in line]
    assert len(said) == 1
    assert said[0].startswith("doctor: watch: ")
    logged = [record["overfitting"] for record in read_metrics(tmp_path / "few_images" / "metrics.jsonl") if "overfitting" in record]
    assert logged[0] < 0.2
    assert logged[-1] > 0.7
    findings = examined(tmp_path / "few_images", tmp_path / "d.json")  # on the same images
    assert findings["overfitting"]["value"] == pytest.approx(logged[-1], abs=0.2)


def test_fifty_discriminator_steps_are_named_in_the_log_and_by_the_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"total_images": 16_000, "log_every": 1_600, "checkpoint_every": 24_000}
    fit(sick("n_dis_50", tmp_path, trainer=changes))
    line = next(line for line in (tmp_path / "n_dis_50" / "log.txt").read_text().splitlines() if "discriminator_accuracy" in line)
    assert line.startswith("doctor: act: discriminator_accuracy: the smaller accuracy on real and generated images is ")
    assert "(> 0.95, our choice): the discriminator wins: " in line
    assert "fewer discriminator steps (trainer.n_dis)" in line
    capsys.readouterr()
    findings = examined(tmp_path / "n_dis_50", tmp_path / "d.json")
    assert begun(findings) >= FOUND["n_dis_50"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("act    ")
    assert sum(line.startswith(("act", "watch")) for line in printed) <= doctor.SHOWN


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_doctor_says_what_a_run_suffers_from(name: str, tmp_path: Path) -> None:
    fit(sick(name, tmp_path))
    held_out = ["--held-out", str(held_out_pictures(tmp_path / "held_out"))] if name == "few_images" else []
    found = begun(examined(tmp_path / name, tmp_path / "d.json", *held_out))
    assert found >= FOUND[name]
    assert found == set() or FOUND[name]


def test_an_augmented_run_and_pictures_of_other_classes(tmp_path: Path, tiny_run_with_augmentation: Path) -> None:
    folder = tiny_run_with_augmentation
    findings = examined(folder, tmp_path / "whole.json")
    assert findings["overfitting"]["severity"] != "not measured" or "three standard errors" in findings["overfitting"]["sentence"]
    assert findings["separation"]["value"] is not None
    with pytest.raises(UserError, match=r"classes"):
        examined(folder, tmp_path / "d.json", "--held-out", str(held_out_pictures(tmp_path / "few") / "3"))


@pytest.fixture(scope="module")
def tiny_run_with_augmentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.training.tiny import tiny

    folder = tmp_path_factory.mktemp("augmented")
    fit(tiny(folder, augment={"kind": "ada"}, data={"split": "train"}))
    return folder / "tiny"


def test_a_checkpoint_whose_data_are_gone_is_still_examined(tiny_run_with_augmentation: Path, tmp_path: Path) -> None:
    state = tiny_run_with_augmentation / "checkpoint-480" / "state.json"
    content = state.read_text()
    hashes = state.with_name("SHA256SUMS")
    sums = hashes.read_text()
    try:
        state.write_text(content.replace(json.loads(content)["data"], "0" * 64))
        hashes.write_text("\n".join(line for line in sums.splitlines() if "state.json" not in line) + f"\n{_sha256(state)}  state.json\n")
        findings = examined(tiny_run_with_augmentation, tmp_path / "d.json")
    finally:
        state.write_text(content)
        hashes.write_text(sums)
    assert "is not the data of the run: name its own with --data-path" in findings["overfitting"]["sentence"]
    assert findings["collapse"]["severity"] == "fine"


def _sha256(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()
