"""The command on whole runs of both sorts: its numbers are those of the loss's Hessian, and it leaves the run as it was."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from gconv_gan.commands.gallery import trained_generator
from gconv_gan.commands.studies import curvature, curvature_claims
from gconv_gan.commands.train import classifier
from gconv_gan.commands.train.networks import load_run
from gconv_gan.commands.train.trained.trained_task import trained_task
from gconv_gan.config.errors import UserError
from gconv_gan.gallery.pictures.registry import PICTURES
from tests.training.tiny_classifier import tiny_classifier

FEW = ["--batches", "2", "--steps", "16", "--probes", "2"]


@pytest.fixture(scope="module")
def classifier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier, trained without augmentation."""
    folder = tmp_path_factory.mktemp("classifier")
    plain: dict[str, Any] = {"crop_padding": 0, "cutout": 0, "mixup": 0.0, "cutmix": 0.0}
    network = {"kind": "digits_classifier", "width": 8}
    labels = {"noise": 0.0, "smoothing": 0.0}
    classifier.fit(tiny_classifier(folder, network=network, augmentation=plain, data={"flip": False}, labels=labels))
    return folder / "tiny"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_gans_players_are_measured_and_the_run_stays_as_it_is(
    player: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(run)
    numbers = tmp_path / "numbers.json"
    curvature.main([str(run), "--player", player, "--json", str(numbers), *FEW])
    shown = capsys.readouterr().out
    assert f"checkpoint-480: {player}, " in shown
    assert "2 batches of 16 from images or latents without end; BatchNorm and dropout in train mode" in shown
    assert "an upper bound: the other network is held fixed" in shown
    card = json.loads(numbers.read_text())
    assert card["sgd_limit"] == pytest.approx(2 / np.mean(card["largest"]))
    assert np.mean(card["largest"]) >= card["largest_of_all"] * (1 - 1e-3) > card["smallest_of_all"]
    assert card["noise"] > 0
    assert [rate["batch"] for rate in card["rates"]] == [4, 8, 16, 32, 64, 128, 256]
    written = {f"curvature/{player}/density.svg", f"curvature/{player}/report.json"}
    assert {name: content for name, content in files(run).items() if name not in written} == before
    assert f"next: gconv-gan gallery {run}" in shown
    (drawing,) = PICTURES["curvature"].draw(trained_generator(load_run(run), run), seed=0)
    assert drawing.content == (run / "curvature" / player / "density.svg").read_bytes()
    assert f"the largest {card['largest_of_all']:.3g}" in drawing.caption
    found = re.search(rb'data-points="[^"]+" data-values="([^"]+)" data-at="([^"]+)"', drawing.content)
    assert found is not None
    density, eigenvalues = (list(map(float, re.sub(rb"[kM]", b"", group).split())) for group in found.groups())
    assert eigenvalues[0] < min(card["smallest"]) < max(card["largest"]) < eigenvalues[-1]
    assert np.trapezoid(density, eigenvalues) == pytest.approx(1, abs=0.05)


def test_its_numbers_are_those_of_the_losses_of_the_run(classifier_run: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    flags = ["--batches", "2", "--steps", "40", "--probes", "8", "--json", str(numbers)]
    curvature.main([str(classifier_run), *flags])
    card = json.loads(numbers.read_text())
    task = trained_task(classifier_run).task
    parameters = [parameter for _, parameter in task.players["classifier"].parameters]
    assert card["parameters"] == sum(parameter.numel() for parameter in parameters)
    gradients = []
    for number in range(2):
        loss = task.losses("classifier", (2 * number, 2 * number + 1))
        gradients.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters, create_graph=True)]))

    def times(vector: np.ndarray, which: tuple[int, ...]) -> np.ndarray:
        v = torch.as_tensor(vector.flatten(), dtype=torch.float32)
        rows = [torch.autograd.grad(gradients[number] @ v, parameters, retain_graph=True) for number in which]
        return np.mean([torch.cat([part.flatten() for part in row]).double().numpy() for row in rows], 0)

    def extreme(end: str, *which: int) -> float:
        side = card["parameters"]
        operator = LinearOperator((side, side), matvec=lambda v: times(v, which), dtype=np.float64)
        return float(eigsh(operator, k=1, which=end, return_eigenvectors=False, tol=1e-5, v0=np.ones(side))[0])

    assert card["largest"] == pytest.approx([extreme("LA", 0), extreme("LA", 1)], rel=1e-3)
    assert card["smallest"] == pytest.approx([extreme("SA", 0), extreme("SA", 1)], rel=1e-2)
    assert card["largest_of_all"] == pytest.approx(extreme("LA", 0, 1), rel=1e-3)
    generator = np.random.default_rng(0)
    squares = []
    for _ in range(20):
        v = generator.standard_normal(card["parameters"])
        squares.append(((times(v, (0,)) - times(v, (1,))) ** 2).sum() / (v @ v) / 2)
    effective = 16 / (1 - 16 / card["images"])
    assert card["noise"] == pytest.approx(effective * np.mean(squares), rel=0.35)


def test_a_gauss_newton_matrix_has_no_negative_eigenvalues(classifier_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curvature.main([str(classifier_run), "--matrix", "gauss_newton", "--mode", "eval", *FEW])
    shown = capsys.readouterr().out
    assert "generalised Gauss–Newton matrix of the training loss" in shown
    assert "in eval mode" in shown
    assert "share of negative eigenvalues 0.0000" in shown
    assert "upper bound" not in shown
    assert json.loads((classifier_run / "curvature" / "classifier" / "report.json").read_text())["matrix"] == "gauss_newton"
    assert "next:" not in shown  # a classifier has no gallery


def test_modes_and_seeds_give_other_numbers_and_equal_ones_the_same(run: Path, tmp_path: Path) -> None:
    def numbers(*flags: str) -> dict[str, Any]:
        file = tmp_path / "numbers.json"
        curvature.main([str(run), "--player", "generator", *FEW, *flags, "--json", str(file)])
        return dict(json.loads(file.read_text()))

    first = numbers()
    assert numbers() == first
    assert numbers("--mode", "eval")["largest"] != first["largest"]
    assert numbers("--seed", "1")["trace"] != first["trace"]
    assert numbers("--checkpoint", "160")["largest"] != first["largest"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--player", "classifier"], r"--player classifier: .* has generator and discriminator"),
        (["--matrix", "gauss_newton"], r"linear in pieces in the network's outputs \(as hinge is\), .* take --matrix hessian"),
        (["--checkpoint", "7"], r"has no checkpoint at 7 images"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(flags: list[str], sentence: str, tiny_run: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        curvature.main([str(tiny_run), *FEW, *flags])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: it has no config\.json"):
        curvature.main([str(tmp_path)])
    with pytest.raises(UserError, match="does not exist"):
        curvature.main([str(tmp_path / "nowhere")])


def test_the_synthetic_experiment_agrees_with_the_theorems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curvature_claims.main(["synthetic", "--first-seed", "50", "--json", str(tmp_path / "numbers.json")])
    assert "expected: at most 5 %: holds" in capsys.readouterr().out
    result = json.loads((tmp_path / "numbers.json").read_text())
    assert result["seeds"] == [50, 51, 52, 53, 54]
    assert all(len(case["measured"]) == 5 for case in result["synthetic"])


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["broadening", "rates", "learner"])
def test_the_other_experiments_run(experiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "curves.svg"
    drawn = [] if experiment == "learner" else ["--picture", str(picture)]
    curvature_claims.main([experiment, "--data", "digits", "--seeds", "2", *drawn, "--cache-dir", str(tmp_path / "cache")])
    assert "expected" in capsys.readouterr().out
    assert picture.is_file() == bool(drawn)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["learner", "--picture", "a.svg"], "--picture is for broadening and rates: learner has no curves"),
        (["rates", "--picture", "a.png"], "--picture a.png: the picture is an SVG"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused(options: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        curvature_claims.main(options)
