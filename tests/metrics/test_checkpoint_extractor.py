"""A trained classifier as an extractor, and the messages for a damaged folder."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.factory import extractor, known_extractors
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.models.classifiers.digits_classifier import DigitsClassifier
from tests.reference.stub_extractor import StubExtractor

CLASSES = [str(digit) for digit in range(10)]


def written(folder: Path, **changes: object) -> DigitsClassifier:
    torch.manual_seed(0)
    network = DigitsClassifier(image_size=16, width=8)
    save_file(network.state_dict(), folder / "model.safetensors")
    description = {"network": "digits_classifier", "arguments": {"image_size": 16, "width": 8}, "classes": CLASSES}
    (folder / "model.json").write_text(json.dumps(description | changes))
    return network


def test_features_and_logits_are_the_networks(tmp_path: Path) -> None:
    network, found = written(tmp_path), extractor(f"checkpoint:{tmp_path}")
    images = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    features, logits = found(images)
    x = images.float() / 127.5 - 1
    torch.testing.assert_close(features, network.features(x))
    torch.testing.assert_close(logits, network(x))
    assert features.shape == (5, found.feature_dim)
    assert not features.requires_grad
    assert (found.name, found.is_inception, found.num_logits) == ("checkpoint:digits_classifier", False, 10)
    assert isinstance(found, Extractor)
    assert isinstance(StubExtractor(), Extractor)


def test_its_hash_is_of_the_weights(tmp_path: Path) -> None:
    network = written(tmp_path)
    before = extractor(f"checkpoint:{tmp_path}").sha256
    with torch.no_grad():
        network.head.bias[0] += 1e-3
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    assert extractor(f"checkpoint:{tmp_path}").sha256 != before


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ValueError, match="takes images of 16x16 pixels, got 8x8"):
        extractor(f"checkpoint:{tmp_path}")(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "vgg", "arguments": {"image_size": 16}}, "model.json: network: there is no classifier 'vgg'"),
        ({"arguments": {"image_size": 8, "depth": 3}}, "arguments: unknown key 'depth'"),
        ({"arguments": {"image_size": 9}}, "image_size is an even number"),
        ({"arguments": {"image_size": 16, "width": 16}}, "does not fit"),
        ({"classes": ["a"]}, "does not fit"),
        ({"classes": ["a"], "arguments": {"num_classes": 10, "image_size": 16, "width": 8}}, "names 1 classes, the network has 10"),
        ({"arguments": {"width": 8}}, "key 'image_size' is required"),
    ],
)
def test_a_broken_description_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    written(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        extractor(f"checkpoint:{tmp_path}")


def test_unknown_names_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}/model.json is missing"):
        extractor(f"checkpoint:{tmp_path}")
    (tmp_path / "model.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match='must be a JSON object with "network", "arguments" and "classes"'):
        extractor(f"checkpoint:{tmp_path}")
    for name in ("incepton", "inception:bicubic", "checkpoint:"):
        with pytest.raises(UserError, match=f"there is no extractor '{name}'"):
            extractor(name)
    with pytest.raises(UserError, match="takes none"):
        extractor("efficientnet_lite0", weights=tmp_path / "x.pth")
    assert "checkpoint:PATH" in known_extractors()


def test_digits_classifier_keeps_images_of_a_batch_apart() -> None:
    torch.manual_seed(0)
    network = DigitsClassifier(image_size=8, width=8)
    x = torch.rand(4, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), rtol=1e-5, atol=1e-6)
    network(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    with pytest.raises(ValueError, match="multiple of 8"):
        DigitsClassifier(width=12)
