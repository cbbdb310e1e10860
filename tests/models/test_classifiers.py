"""Exact sizes of every row of the acceptance tables, counted on tensors without storage, and outputs equal to torchvision's."""

import re
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
import torchvision
from torch import nn

from gconv_gan.models.classifiers import CLASSIFIERS, build_classifier, default_size
from gconv_gan.models.summary import summarise
from tests.reference.classifier_sizes import SIZES


def count(name: str, **options: object) -> tuple[int, int]:
    """Parameters and MACs of the network, from shapes alone."""
    with torch.device("meta"):
        network = build_classifier(name, **options)
        rows = summarise(network, torch.zeros(1, 3, network.image_size, network.image_size))
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == sum(row.parameters for row in rows)
    return parameters, sum(row.macs for row in rows)


@pytest.mark.parametrize("name", SIZES)
def test_exact_parameters_and_macs(name: str) -> None:
    assert count(name) == SIZES[name]


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("wrn_16_4", 100, 2_772_020),
        ("wrn_16_4", 200, 2_797_720),
        ("wrn_28_10", 100, 36_536_884),
        ("wrn_28_10", 200, 36_600_984),
        ("wrn_52_1", 200, 770_712),
        ("resnext29_16x32d", 100, 25_229_220),
        ("resnext29_8x64d", 100, 34_518_948),
    ],
)
def test_exact_parameters_with_other_classes(name: str, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        network = build_classifier(name, num_classes=classes)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_macs_follow_image_size_and_classes() -> None:
    assert count("wrn_28_10", num_classes=200, image_size=64)[1] == 20_973_417_472
    assert count("wrn_28_10", num_classes=100)[1] == 5_243_386_368


def sizes_of(oracle: nn.Module) -> int:
    return sum(p.numel() for p in oracle.parameters())


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("resnet34", "resnet34"),
        ("resnet101", "resnet101"),
        ("resnet152", "resnet152"),
        ("resnext101_32x4d", "resnext101_32x4d"),
        ("seresnext101_32x4d", "seresnext101_32x4d"),
        ("preact_resnet50", "resnetv2_50"),
        ("preact_resnet101", "resnetv2_101"),
        ("preact_resnet152", "resnetv2_152"),
    ],
)
def test_parameters_equal_timms(name: str, oracle: str) -> None:
    with torch.device("meta"):
        assert sizes_of(build_classifier(name)) == sizes_of(timm.create_model(oracle))


def randomised(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network with random parameters and statistics, of a size that keeps activations moderate, for evaluation."""
    with torch.device("meta"):
        network = build()
    for name, tensor in network.to_empty(device="cpu").state_dict().items():
        if not tensor.is_floating_point():
            tensor.zero_()
        elif tensor.ndim > 1:
            tensor.normal_(std=(2 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("running_var", "weight")):
            tensor.uniform_(0.5, 1.0)
        else:
            tensor.normal_(std=0.1)
    return network.eval()


def holding(state: dict[str, torch.Tensor], name: str, **options: object) -> nn.Module:
    """Return the named network with these tensors, for evaluation."""
    with torch.device("meta"):
        network = build_classifier(name, **options)
    network.load_state_dict(state, assign=True)
    return network.eval()


def in_order(source: nn.Module, name: str, **options: object) -> dict[str, torch.Tensor]:
    """Return the tensors of ``source`` under our names, where both lists come in the same order with the same shapes."""
    with torch.device("meta"):
        ours = build_classifier(name, **options).state_dict()
    theirs = source.state_dict()
    assert [t.shape for t in ours.values()] == [t.shape for t in theirs.values()]
    return dict(zip(ours, theirs.values(), strict=True))


def assert_same_outputs(ours: nn.Module, theirs: nn.Module) -> None:
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(x)
        assert expected.std() > 0
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("resnet18", torchvision.models.resnet18),
        ("resnext50_32x4d", torchvision.models.resnext50_32x4d),
        ("wrn_50_2", torchvision.models.wide_resnet50_2),
    ],
)
def test_outputs_equal_torchvisions(name: str, oracle: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    theirs = randomised(oracle)
    assert_same_outputs(holding(in_order(theirs, name), name), theirs)


def test_preactivation_outputs_equal_timms() -> None:
    torch.manual_seed(0)
    depths = (1, 2, 1, 1)
    theirs = randomised(partial(timm.create_model, "resnetv2_50", layers=depths))
    names = {
        "trunk.stem.conv": "stem.conv",
        "trunk.preactivation.norm": "norm",
        "head": "head.fc",
        ".preactivation.norm.": ".norm1.",
        ".branch.preactivation2.norm.": ".norm2.",
        ".branch.preactivation3.norm.": ".norm3.",
        ".branch.": ".",
        ".projection.": ".downsample.conv.",
    }

    def timm_name(key: str) -> str:
        key = re.sub(r"trunk\.stage(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.blocks.", key)
        for old, new in names.items():
            key = key.replace(old, new)
        return key

    with torch.device("meta"):
        keys = build_classifier("preact_resnet50", depths=depths).state_dict()
    state = {key: theirs.state_dict()[timm_name(key)].reshape(tensor.shape) for key, tensor in keys.items()}
    assert_same_outputs(holding(state, "preact_resnet50", depths=depths), theirs)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no classifier 'wrn_16_5': did you mean wrn_16_\d"):
        build_classifier("wrn_16_5")
    with pytest.raises(ValueError, match="known are"):
        build_classifier("?")


def test_image_size_is_the_tables_unless_given() -> None:
    with torch.device("meta"):
        assert [build_classifier(n).image_size for n in ("wrn_10_1", "resnet18")] == [32, 224]
        assert build_classifier("wrn_10_1", image_size=64).image_size == 64
    assert {default_size(name) for name in CLASSIFIERS} == {32, 224}
