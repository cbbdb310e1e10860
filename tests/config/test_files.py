"""Every config file in the repository is valid, has a header with command, hardware and expected result, and builds its networks."""

import re
from pathlib import Path

import pytest
import torch

from gconv_gan.config.load import load_config
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.models.factory import build_classifier_network

CONFIGS = Path(__file__).parents[2] / "configs"
GAN = sorted((CONFIGS / "gan").glob("*.toml"))
CLASSIFY = sorted((CONFIGS / "classify").glob("*.toml"))


@pytest.mark.parametrize("path", GAN + CLASSIFY, ids=lambda path: path.stem)
def test_it_is_valid_and_named_after_its_file(path: Path) -> None:
    config = load_config(GANRunConfig if path in GAN else ClassifierRunConfig, path)
    assert config.name.startswith(path.stem)


@pytest.mark.parametrize("path", GAN + CLASSIFY, ids=lambda path: path.stem)
def test_its_header_says_command_hardware_and_what_to_expect(path: Path) -> None:
    header = re.match(r"(#.*\n)+", path.read_text())
    assert header is not None, "a config opens with a comment"
    verb = "train" if path in GAN else "classify"
    assert f"#   gconv-gan {verb} configs/{path.parent.name}/{path.name}" in header[0]
    assert "Hardware:" in header[0]
    assert re.search(r"[Aa]ims at|[Rr]eaches|[Nn]o published number", header[0])


@pytest.mark.parametrize("path", CLASSIFY, ids=lambda path: path.stem)
def test_its_network_exists_and_takes_its_parts(path: Path) -> None:
    config = load_config(ClassifierRunConfig, path)
    with torch.device("meta"):  # shapes alone: ImageNet's networks are large
        network = build_classifier_network(config.network, num_classes=10, image_size=config.image_size)
    assert sum(parameter.numel() for parameter in network.parameters()) > 0
