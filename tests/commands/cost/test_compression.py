"""The report on tiny runs of both sorts: counts, ratios, what was changed, scores of equal cards alone, and refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gconv_gan.commands.cost.compression import CompressionReport, main
from gconv_gan.commands.train import classifier, gan
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from gconv_gan.metrics.score_card import Score
from tests.metrics.test_score_card import card
from tests.training.tiny import tiny
from tests.training.tiny_classifier import tiny_classifier

FEW = ["--repeats", "3", "--batch", "4"]
SHORT: dict[str, Any] = {"trainer": {"total_images": 192}}
TAYLOR: dict[str, Any] = {"kind": "taylor", "every": 80, "units_per_step": 50, "removed": 0.2}
LOW_RANK: dict[str, Any] = {"kind": "low_rank", "every": 80, "removed": 0.6, "factorise_at": 160}
COMPRESSED = {
    "taylor": (TAYLOR, "taylor: 45 of 224 units removed"),
    "low_rank": (LOW_RANK, "low_rank: 9 convolutions are two layers of rank 6 to 25"),
}
"""Method -> section of its config, and what the report says that it did to the classifier."""


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the classifier "plain", and of one with each of the methods, with its name."""
    folder = tmp_path_factory.mktemp("classifiers")
    classifier.fit(tiny_classifier(folder, name="plain", **SHORT))
    for name, (method, _) in COMPRESSED.items():
        classifier.fit(tiny_classifier(folder, name=name, methods=[method], **SHORT))
    return folder


@pytest.fixture(scope="module")
def pruned_gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gan")
    gan.fit(tiny(folder, methods=[TAYLOR], **SHORT))
    return folder / "tiny"


def reported(folder: Path, run: Path, *against: Path, flags: tuple[str, ...] = ()) -> CompressionReport:
    out = folder / "report.json"
    others = ["--against", *map(str, against)] if against else []
    main([str(run), *others, *FEW, *flags, "--json", str(out)])
    return CompressionReport.model_validate_json(out.read_text())


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_classifier_beside_the_whole_one(
    name: str, classifiers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = reported(tmp_path, classifiers / name, classifiers / "plain", flags=("--png", str(tmp_path / "report.png")))
    whole, small = (run.networks["classifier"] for run in report.runs)
    shown = capsys.readouterr().out
    for run, cost in (("plain", whole), (name, small)):
        network, fields = load_classifier(classifiers / run)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, 8, 8))
        assert counter.get_total_flops() == 2 * cost.macs
        assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
        assert cost.weight_bytes == sum(tensor.nbytes for tensor in network.state_dict().values())
        assert f"{fields['accuracy']:.4f}" in shown
    assert (whole.changes, small.changes) == ((), (COMPRESSED[name][1],))
    ratios = report.runs[1].ratios["classifier"]
    assert small.macs / whole.macs == ratios["MACs"] < 1
    assert small.parameters / whole.parameters == ratios["parameters"] < 1
    assert f"{small.macs:,} ×{ratios['MACs']:.3f}" in shown
    assert f"{classifiers / name}: {COMPRESSED[name][1]}" in shown
    assert [latency.batch for latency in small.latencies] == [1, 4]
    assert all(0 < latency.low <= latency.median <= latency.high for latency in small.latencies)
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_without_another_run_the_networks_are_compared_with_those_of_the_config(
    pruned_gan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = reported(tmp_path, pruned_gan)
    configured, trained = report.runs
    assert configured.images is None
    assert trained.images == 192
    for name, network in (("generator", load_run(pruned_gan).generator()), ("discriminator", load_run(pruned_gan).discriminator())):
        assert trained.networks[name].parameters == sum(parameter.numel() for parameter in network.parameters())
        assert trained.networks[name].macs < configured.networks[name].macs
        assert trained.networks[name].activation_bytes < configured.networks[name].activation_bytes
        (words,) = trained.networks[name].changes
        removed = json.loads((pruned_gan / "checkpoint-192" / "state.json").read_text())["methods"][0]["facts"][name]["removed"]
        assert words.startswith(f"taylor: {len(removed)} of ")
    assert "scores are left out: none is stored of" in capsys.readouterr().out


@pytest.mark.parametrize("sort", ["GAN", "classifier"])
def test_against_itself_every_count_has_the_ratio_one(sort: str, pruned_gan: Path, classifiers: Path, tmp_path: Path) -> None:
    run = pruned_gan if sort == "GAN" else classifiers / "taylor"
    report = reported(tmp_path, run, run)
    for ratios in report.runs[1].ratios.values():
        assert {ratios[key] for key in ("parameters", "MACs", "peak memory")} == {1.0}
        assert ratios["latency, batch 4"] == pytest.approx(1, rel=0.9)


def scored(run: Path, folder: Path, fid: float, **changes: object) -> Path:
    """Return a copy of a run in ``folder`` with a stored score."""
    copy = Path(shutil.copytree(run, folder / f"fid{fid:g}"))
    score = Score(scores={"fid": fid}, card=card(fakes__images_seen=192, **changes))
    (copy / "scores").mkdir(exist_ok=True)
    (copy / "scores" / "images.json").write_text(score.to_json())
    return copy


def test_scores_of_equal_cards_stand_side_by_side(pruned_gan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = scored(pruned_gan, tmp_path, 10.0), scored(pruned_gan, tmp_path, 12.0)
    report = reported(tmp_path, after, before, flags=("--png", str(tmp_path / "report.png")))
    assert [list(run.scores.values()) for run in report.runs] == [[{"fid": 10.0}], [{"fid": 12.0}]]
    assert "12 (+20.0%)" in capsys.readouterr().out
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_scores_of_unlike_cards_are_refused(pruned_gan: Path, tmp_path: Path) -> None:
    runs = scored(pruned_gan, tmp_path, 10.0), scored(pruned_gan, tmp_path, 12.0, formula__num_fake=50)
    with pytest.raises(UserError, match=r"these scores cannot be compared: .*fid10 differs from .*fid12 in formula.num_fake: 50 != 100$"):
        reported(tmp_path, *runs)
    with pytest.raises(UserError, match="has no such score; it has images at 192"):
        reported(tmp_path, runs[0], flags=("--protocol", "fid50k_train"))


def test_scores_of_another_checkpoint_are_left_out(pruned_gan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    early = scored(pruned_gan, tmp_path, 10.0)
    (early / "scores" / "images.json").write_text(Score(scores={"fid": 1.0}, card=card(fakes__images_seen=160)).to_json())
    report = reported(tmp_path, early, scored(pruned_gan, tmp_path, 12.0))
    assert [run.scores for run in report.runs] == [{}, {}]
    assert f"none is stored of {early} at 192 images" in capsys.readouterr().out


def test_accuracies_on_other_test_images_are_refused(classifiers: Path, tmp_path: Path) -> None:
    classifier.fit(tiny_classifier(tmp_path, name="other", test_data={"split": "train"}, trainer={"total_images": 32}))
    with pytest.raises(UserError, match=r"test scores cannot be compared: .*taylor differs from .*other in test images$"):
        reported(tmp_path, classifiers / "taylor", tmp_path / "other")


def test_a_classifier_beside_a_gan_is_refused(classifiers: Path, pruned_gan: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tiny is a GAN's run, .*plain a classifier's: neither costs nor scores can be compared$"):
        reported(tmp_path, pruned_gan, classifiers / "plain")


@pytest.mark.parametrize(("name", "sentence"), [("absent", "absent does not exist"), ("empty", "empty is not a run folder")])
def test_a_folder_without_a_run_is_named(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=sentence):
        reported(tmp_path, tmp_path / name)


def test_a_picture_has_to_be_a_png(pruned_gan: Path) -> None:
    with pytest.raises(UserError, match=r"--png a\.jpg: name a file that ends in \.png"):
        main([str(pruned_gan), "--png", "a.jpg"])
