"""compare_layers from config to table: paired seeds, equal budgets, no repeated training, and the verdict."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gconv_gan.commands import ablate as recipe
from gconv_gan.commands import compare_layers
from gconv_gan.commands.ablate import write_result
from gconv_gan.commands.train import classifier
from gconv_gan.config.ablations import AblationConfig, CompareCommand
from gconv_gan.config.errors import StoppedBySignalError, UserError
from gconv_gan.config.load import load_config, merged, validated
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.experiments.arms import arm_run, load_ablation
from gconv_gan.experiments.claims import Finding
from gconv_gan.experiments.plot import compared_measure, cost_axis, draw, look, plot
from gconv_gan.experiments.report import AblationResult, overview, table
from gconv_gan.models.factory import build_classifier_network
from gconv_gan.models.tables import CLASSIFIERS
from gconv_gan.training.checkpoint import checkpoints, damage
from gconv_gan.training.guards import NotFiniteError
from tests.commands.workers import interrupted, two_processes

DIGITS = {"kind": "digits", "split": "train"}
TINY: dict[str, Any] = {
    "name": "widths",
    "question": "Wider is better.",
    "source": "nobody, 2000",
    "setting": "digits",
    "seeds": 2,
    "test": "t",
    "run": {
        "data": DIGITS,
        "test_data": {"kind": "digits", "split": "test"},
        "network": {"kind": "digits_classifier", "width": 8},
        "optimizer": {"kind": "adam", "learning_rate": 3e-3},
        "trainer": {"total_images": 640, "batch_size": 32, "checkpoint_every": 320, "log_every": 160},
    },
    "arms": {"narrow": {}, "wide": {"network": {"width": 16}}},
    "attacks": {"images": 50, "fgsm": 8.0, "gaussian": 0.1},
    "compare": [
        {"kind": "better", "arm": "wide", "against": "narrow", "published": "three times wider"},
        {"kind": "near", "arm": "wide", "against": "narrow", "measure": "accuracy_fgsm", "margin": 0.9},
        {"kind": "growth", "arms": ["narrow", "wide"], "exponent": 2.0, "tolerance": 0.3},
    ],
}


def command(folder: Path, **changes: Any) -> CompareCommand:
    places: dict[str, Any] = {
        "processes": 1,
        "runs_dir": str(folder / "runs"),
        "results": str(folder / "results"),
        "cache_dir": str(folder / "cache"),
    }
    return validated(CompareCommand, {**places, **changes}, "test")


def comparison(**changes: Any) -> AblationConfig:
    return validated(AblationConfig, merged(TINY, changes), "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def result(folder: Path) -> AblationResult:
    return recipe.ablate(comparison(), command(folder))


def test_every_arm_has_every_measure_for_every_seed(result: AblationResult) -> None:
    assert list(result.arms) == ["narrow", "wide"]
    for arm in result.arms.values():
        assert arm.seeds == [0, 1]
        for scores in arm.scores.values():
            assert scores.keys() == {"accuracy", "top5", "loss", "calibration_error", "accuracy_gaussian", "accuracy_fgsm"}
        assert arm.of("accuracy")[0] != arm.of("accuracy")[1]
    assert result.images == 640


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_several_processes_that_are_interrupted_have_the_measures_of_one(
    number: signal.Signals,
    result: AblationResult,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    two_processes(monkeypatch, interrupted, MARKER=str(tmp_path / "marker"), SIGNAL=str(int(number)), PARENT=str(os.getpid()))
    asked = command(tmp_path, processes=None, cache_dir=str(folder / "cache"))
    if number != signal.SIGKILL:  # of a process; the others are for all
        with pytest.raises(StoppedBySignalError) as stopped:
            recipe.ablate(comparison(), asked)
        assert stopped.value.number == number
        saved = [path for run in (tmp_path / "runs" / "widths").iterdir() for _, path in checkpoints(run)]
        assert saved
        assert [fault for path in saved if (fault := damage(path))] == []
        assert not list(tmp_path.glob("runs/widths/*/result.json"))
    shared = recipe.ablate(comparison(), asked)
    assert {arm: found.scores for arm, found in shared.arms.items()} == {arm: found.scores for arm, found in result.arms.items()}
    said = "a process was ended (exit code -9); its runs are resumed: "
    assert (said in capsys.readouterr().out) == (number == signal.SIGKILL)


def test_costs_are_counted(result: AblationResult) -> None:
    narrow, wide = result.arms["narrow"], result.arms["wide"]
    assert narrow.parameters == 3 * 8 * 9 + 8 * 8 * 9 + 8 * 16 * 9 + 16 * 32 * 9 + 2 * (8 + 8 + 16 + 32) + 32 * 10 + 10
    assert 3 < wide.macs / narrow.macs < 4
    assert wide.memory > 1.5 * narrow.memory
    assert wide.step_seconds > 0


def test_the_verdict_is_the_worst_of_the_findings(result: AblationResult) -> None:
    assert [finding.verdict for finding in result.findings][1:] == ["holds", "holds"]
    assert result.verdict == result.findings[0].verdict


def test_finished_runs_are_not_trained_again(result: AblationResult, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_training(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(recipe, "train_all", no_training)
    again = recipe.ablate(comparison(), command(folder))
    assert {name: arm.scores for name, arm in again.arms.items()} == {name: arm.scores for name, arm in result.arms.items()}
    for changes in ({"seeds": "3"}, {"images": 320}):
        with pytest.raises(AssertionError, match="trained again"):
            recipe.ablate(comparison(), command(folder, **changes))
    with pytest.raises(AssertionError, match="trained again"):
        recipe.ablate(comparison(attacks={"fgsm": 4.0}), command(folder))


def test_an_arm_that_diverges_is_at_chance_and_stays_in_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = classifier.prepared

    def explosive(run: ClassifierRunConfig, *parts: Any, **options: Any) -> Any:
        ready = prepared(run, *parts, **options)
        if run.network == CLASSIFIERS.models()["digits_classifier"](width=16) and run.seed == 1:
            ready.task.guard.require_finite = failing  # type: ignore[method-assign]
        return ready

    def failing() -> None:
        raise NotFiniteError("the classifier's gradient is not finite")

    monkeypatch.setattr(classifier, "prepared", explosive)
    found = recipe.ablate(comparison(run={"trainer": {"total_images": 352}}), command(folder))
    wide = found.arms["wide"]
    assert wide.diverged == (1,)
    assert (wide.scores[1]["accuracy"], wide.scores[1]["top5"], wide.scores[1]["accuracy_fgsm"]) == (0.1, 0.5, 0.1)
    assert "diverged: wide, seeds [1]" in table(found)


def test_the_tables_and_the_plot(result: AblationResult) -> None:
    text = table(result)
    assert f"claims: {result.verdict}\n- wide is better than narrow in accuracy (published: three times wider): difference " in text
    narrow, wide = (100 * np.array(list(result.arms[arm].of("accuracy").values())) for arm in ("narrow", "wide"))
    shown = {name: f"{values.mean():.2f} ± {values.std(ddof=1):.2f} %" for name, values in (("narrow", narrow), ("wide", wide))}
    assert all(words in text for words in shown.values())
    assert "accuracy, wide − narrow: " in text
    time = result.arms["wide"].step_seconds / result.arms["narrow"].step_seconds
    row = next(line for line in overview([result]) if "Wider is better. (nobody, 2000; three times wider)" in line)
    assert f"wide {shown['wide']} against narrow {shown['narrow']}" in row
    assert row.endswith(f"| ×{time:.2f} | **{result.verdict}** |")
    assert plot(result).startswith(b"\x89PNG")
    assert plot(result) == plot(result)


def test_the_cost_axis_is_time_for_arms_of_equal_macs_and_macs_for_others(result: AblationResult) -> None:
    narrow, wide = result.arms["narrow"], result.arms["wide"]
    axis = cost_axis(result)
    assert (axis.label, axis.values) == ("million MACs per image", (narrow.macs / 1e6, wide.macs / 1e6))
    slower = narrow.model_copy(update={"macs": round(1.005 * narrow.macs), "step_seconds": 1.5 * narrow.step_seconds})
    for arms in ({"narrow": narrow, "slower": slower}, {"narrow": narrow, "wide": wide, "slower": slower}):
        equal = result.model_copy(update={"arms": arms})
        axis = cost_axis(equal)
        assert axis.label == "time of a training step / that of narrow"
        assert (axis.values[0], axis.values[-1]) == pytest.approx((1.0, 1.5))
        assert plot(equal) != plot(result)


def test_every_seed_and_every_arm_is_inside_the_plot(result: AblationResult) -> None:
    outlier = result.arms["narrow"].model_copy(update={"scores": {seed: {"accuracy": value} for seed, value in enumerate((0.5, 0.5, 0.1))}})
    arms = {name: outlier.model_copy(update={"step_seconds": seconds}) for name, seconds in (("a", 1.0), ("b", 1.02), ("c", 9.0))}
    (axes,) = draw(result.model_copy(update={"arms": arms})).axes
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    assert low < 10
    assert high > 50
    assert left < 1.0 < 9.0 < right
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]


def test_the_plot_shows_the_measure_that_is_claimed(result: AblationResult) -> None:
    assert compared_measure(result) == "accuracy"
    near = result.model_copy(update={"config": {"compare": result.config["compare"][1:]}})
    assert compared_measure(near) == "accuracy_fgsm"
    assert plot(near) != plot(result)
    growth = result.model_copy(update={"config": {"compare": result.config["compare"][2:]}})
    assert compared_measure(growth) == "accuracy"
    loss = result.model_copy(update={"config": {"compare": [{**result.config["compare"][0], "measure": "loss"}]}})
    assert plot(loss).startswith(b"\x89PNG")


def test_plots_are_drawn_again_from_stored_results(result: AblationResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = result.model_copy(update={"name": "other"})
    for one in (result, other):
        (tmp_path / f"layers_{one.name}.json").write_text(one.model_dump_json())
    (tmp_path / "layers_widths.png").write_bytes(b"old")
    compare_layers.main(["other", "--table", "--results", str(tmp_path)])
    assert "widths: " not in capsys.readouterr().out
    assert (tmp_path / "layers_other.png").read_bytes() == plot(other)
    assert (tmp_path / "layers_widths.png").read_bytes() == b"old"
    compare_layers.main(["--table", "--results", str(tmp_path)])
    assert (tmp_path / "layers_widths.png").read_bytes() == plot(result)
    with pytest.raises(UserError, match=r"holds no result layers_lost\.json"):
        compare_layers.main(["lost", "--table", "--results", str(tmp_path)])
    (tmp_path / "layers_other.json").write_text("{")
    with pytest.raises(UserError, match=r"layers_other\.json is not valid JSON"):
        compare_layers.main(["--table", "--results", str(tmp_path)])


def test_a_stored_result_is_read_back_and_negative_results_stay(result: AblationResult, tmp_path: Path) -> None:
    failed = result.model_copy(
        update={"name": "a", "verdict": "does not hold", "findings": (Finding(claim="c", measured="m", verdict="does not hold"),)}
    )
    for one in (result, failed):
        write_result(one, tmp_path / f"layers_{one.name}.json")
    stored = compare_layers.stored_results(tmp_path)
    assert stored == [failed, result]
    assert "- c: m (does not hold)" in table(stored[0])
    assert "| **does not hold** |" in "\n".join(overview(stored))
    with pytest.raises(UserError, match="holds no results of comparisons"):
        compare_layers.stored_results(tmp_path / "none")


@pytest.mark.parametrize("path", sorted(Path("eval/results").glob("ablation_*.json")), ids=lambda path: path.stem)
def test_the_stored_ablations_are_read(path: Path) -> None:
    assert load_config(AblationResult, path).name in table(load_config(AblationResult, path))


def test_a_file_of_an_earlier_version_is_the_same_ablation() -> None:
    earlier = {**TINY, "claim": TINY["question"], "claims": [{"kind": "better", "proposed": "wide", "baseline": ["narrow"]}]}
    del earlier["question"], earlier["compare"], earlier["test"]
    assert validated(AblationConfig, earlier, "test") == comparison(compare=[{"kind": "better", "arm": "wide", "against": ["narrow"]}])
    plain = validated(AblationConfig, {**TINY, "compare": [{"arm": "wide", "against": "narrow"}]}, "test")
    assert plain == comparison(compare=[{"kind": "difference", "arm": "wide", "against": "narrow"}])


def test_a_table_whose_kind_changes_is_replaced_as_a_whole() -> None:
    base = {"network": {"kind": "digits_classifier", "width": 8}, "seed": 1, "labels": {"noise": 0.1, "smoothing": 0.2}}
    changes = {"network": {"kind": "named", "name": "wrn_10_1"}, "labels": {"noise": 0.4}}
    assert merged(base, changes) == {
        "network": {"kind": "named", "name": "wrn_10_1"},
        "seed": 1,
        "labels": {"noise": 0.4, "smoothing": 0.2},
    }
    assert base["labels"] == {"noise": 0.1, "smoothing": 0.2}


def test_a_wrong_key_is_named_with_its_arm(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"experiment widths, arm wide: unknown key 'network\.widht'; did you mean 'width'"):
        recipe.ablate(comparison(arms={"wide": {"network": {"widht": 16}}}), command(tmp_path))
    with pytest.raises(UserError, match="a comparison names the arm 'wider', which is not among narrow, wide"):
        comparison(compare=[{"kind": "better", "arm": "wider", "against": "narrow"}])


@pytest.mark.parametrize("path", sorted(Path("configs/compare").glob("*.toml")), ids=lambda path: path.stem)
def test_the_comparisons_of_the_repository_are_valid(path: Path, tmp_path: Path) -> None:
    config = load_ablation(path)
    runs = {arm: arm_run(config, command(tmp_path), arm, 0) for arm in config.arms}
    assert config.name == path.stem
    assert len({run.trainer.total_images for run in runs.values()}) == 1
    assert len({run.name for run in runs.values()}) == len(runs)
    for run in runs.values():
        assert isinstance(run, ClassifierRunConfig)
        with torch.device("meta"):
            network = build_classifier_network(run.network, num_classes=10, image_size=run.image_size)
        assert sum(parameter.numel() for parameter in network.parameters()) > 0


def test_training_methods_are_arms_whose_numbers_are_measures_and_whose_networks_are_costed(tmp_path: Path) -> None:
    network = {"kind": "named", "name": "plain_net", "options": {"depth": 3, "width": 8, "pools": [2]}}
    changes = {
        "run": {**TINY["run"], "network": network},
        "arms": {
            "plain": {},
            "slow": {"optimizer": {"learning_rate": 1e-3}},
            "scaled": {"methods": [{"kind": "gradinit", "iterations": 3, "scale_rate": 0.02}]},
            "pruned": {"methods": [{"kind": "taylor", "removed": 0.3, "every": 320}]},
        },
        "compare": [
            {"kind": "range", "arms": ["scaled"], "measure": "gradinit.classifier_smallest_kernel_scale", "at_least": 0.9, "at_most": 1.1},
            {"kind": "better", "arm": "scaled", "against": ["plain", "slow"]},
            {"kind": "cheaper", "arm": "pruned", "against": "plain", "cost": "parameters", "at_most": 0.8},
        ],
        "attacks": {},
    }
    found = recipe.ablate(validated(AblationConfig, {**TINY, **changes}, "test"), command(tmp_path))
    scales = found.arms["scaled"].of("gradinit.classifier_smallest_kernel_scale")
    assert len(scales) == 2
    assert all(scale != 1 for scale in scales.values())
    assert not any("." in name for name in found.arms["plain"].scores[0])
    first, second, third = found.findings
    assert first.verdict == third.verdict == "holds"
    means = {arm: sum(one.of("accuracy").values()) / 2 for arm, one in found.arms.items()}
    best = max(("plain", "slow"), key=means.__getitem__)
    assert second.claim == f"scaled is better than {best}, the best of plain, slow, in accuracy"
    lines = table(found)
    assert "smallest_kernel_scale" in lines
    assert f"{100 * means['plain']:.2f} ± " in lines
    assert draw(found) is not None


def test_many_arms_look_different() -> None:
    assert len({look(index) for index in range(24)}) == 24
