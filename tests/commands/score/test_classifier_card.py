"""The card of a trained classifier, and the classifier as an extractor of features."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gconv_gan.commands.score.classifier_card import ClassifierCard, ClassifierCardCommand, classifier_card, main
from gconv_gan.commands.train import classifier as recipe
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import validated
from gconv_gan.data.cache import open_dataset
from gconv_gan.metrics.cost import counts
from gconv_gan.metrics.extractors.factory import extractor
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from tests.training.tiny_classifier import tiny_classifier

NETWORK = {"kind": "named", "name": "wrn_10_1", "norm": {"kind": "group", "num_groups": 4}, "options": {"width": 0.25, "dropout": 0.1}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    recipe.fit(tiny_classifier(folder, network=NETWORK, trainer={"total_images": 320}))
    return folder / "tiny"


def test_the_card_holds_scores_robustness_and_costs(run: Path) -> None:
    command = validated(
        ClassifierCardCommand, {"run": str(run), "fgsm": [0, 8], "pgd": [8], "gaussian": [0.1], "changed_images": 100, "repeats": 2}, ""
    )
    card = classifier_card(command)
    network, fields = load_classifier(str(run))
    assert card.scores["accuracy"] == pytest.approx(fields["accuracy"])
    assert card.scores["loss"] == pytest.approx(fields["loss"], rel=1e-5)
    assert card.scores.keys() == {
        "accuracy", "top5", "loss", "calibration_error", "accuracy, gaussian 0.1", "accuracy, fgsm 0/255", "accuracy, fgsm 8/255",
        "accuracy, pgd20 8/255",
    }  # fmt: skip
    counted = counts(network, torch.zeros(1, 3, 8, 8))
    assert card.cost["parameters"] == counted.parameters
    assert card.cost["MACs per image"] == counted.macs
    assert card.data.images == 359
    assert card.data.changed_images == 100
    assert card.weights == "ema"
    assert ClassifierCard.model_validate_json(card.model_dump_json()) == card


def test_the_command_keeps_the_card(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(run), "--changed-images", "20", "--repeats", "1", "--pgd", "--json", str(tmp_path / "card.json")])
    printed = capsys.readouterr().out
    assert "accuracy, fgsm 8/255" in printed
    assert printed.startswith("tiny (wrn_10_1), ema weights at 320 images, on 359 images of ")
    assert (tmp_path / "card.json").read_text() == (run / "scores" / "classifier.json").read_text()


def test_large_counts_are_printed_in_full(run: Path) -> None:
    command = validated(ClassifierCardCommand, {"run": str(run), "fgsm": [], "pgd": [], "gaussian": [], "repeats": 1}, "")
    card = classifier_card(command)
    cost = {"MACs per image": 2_120_960.0, "images per second, batch 64": 1_234_567.8, "latency, ms": 1.2345678}
    lines = card.model_copy(update={"cost": cost}).lines()[-3:]
    assert [line.split()[-1] for line in lines] == ["2,120,960", "1,234,568", "1.23457"]


def test_the_classifier_is_an_extractor_for_gan_scores(run: Path, tmp_path: Path) -> None:
    found = extractor(f"checkpoint:{run}")
    network, fields = load_classifier(run)
    images = torch.from_numpy(open_dataset(tiny_classifier(run.parent).test_data).images[:6].copy())
    features, logits = found(images)
    with torch.no_grad():
        expected = network(images.float() / 127.5 - 1)
    torch.testing.assert_close(logits, expected)
    assert features.shape == (6, network.feature_dim)
    assert found.name == "checkpoint:wrn_10_1"
    assert list(found.classes) == list(fields["classes"])  # type: ignore[attr-defined]
    assert np.isfinite(features.numpy()).all()


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a classifier: .*model\.json is missing"):
        main([str(tmp_path)])
