"""Outputs equal torchvision's and timm's with the same weights."""

import math
import re
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
import torchvision
from torch import nn

from gconv_gan.models.classifiers.named import build_classifier


def randomised(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network with random parameters and statistics, of a size that keeps activations moderate, for evaluation."""
    with torch.device("meta"):
        network = build()
    numbers = torch.randn(99_991)  # a prime: repeated, they do not fall into step with a layer's shape
    for name, tensor in network.to_empty(device="cpu").state_dict().items():
        if not tensor.is_floating_point():
            tensor.zero_()
            continue
        random = numbers.repeat(math.ceil(tensor.numel() / len(numbers)))[: tensor.numel()].view_as(tensor)
        if tensor.ndim > 1:
            tensor.copy_(random).mul_((2 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("running_var", "weight")):
            tensor.copy_(random).mul_(0.1).add_(0.75).clamp_(min=0.5)
        else:
            tensor.copy_(random).mul_(0.1)
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
    x = torch.randn(1, 3, 32, 32)
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


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("sknet50", "skresnext50_32x4d"),
        ("seresnext50_32x4d", "seresnext50_32x4d"),
        ("ghostnet_050", "ghostnet_050"),
        ("ghostnet_100", "ghostnet_100"),
        ("ghostnet_130", "ghostnet_130"),
        ("mobilenetv3_large", "mobilenetv3_large_100"),
        ("mobilenetv3_small", "mobilenetv3_small_100"),
    ],
)
def test_outputs_equal_timms(name: str, oracle: str) -> None:
    torch.manual_seed(0)
    theirs = randomised(partial(timm.create_model, oracle))
    assert_same_outputs(holding(in_order(theirs, name), name), theirs)


def test_vgg_outputs_equal_torchvisions_whose_biases_the_norms_absorb() -> None:
    torch.manual_seed(0)
    theirs = randomised(torchvision.models.vgg11_bn)
    state = theirs.state_dict()
    for name in [name for name in state if name.endswith("running_mean")]:
        block, index, _ = name.split(".")
        state[name] = state[name] - state.pop(f"{block}.{int(index) - 1}.bias")
    with torch.device("meta"):
        ours = build_classifier("vgg11_bn").state_dict()
    keys = sorted(ours, key=lambda key: key.startswith("head"))  # ours has the hidden layers after the head
    assert_same_outputs(holding(dict(zip(keys, state.values(), strict=True)), "vgg11_bn"), theirs)


def test_a_train_step_of_sknet_equals_timms() -> None:
    torch.manual_seed(0)
    depths = (1, 1, 1, 1)
    theirs = randomised(partial(timm.create_model, "skresnext50_32x4d", layers=depths)).double().train()
    tensors = {name: tensor.clone() for name, tensor in in_order(theirs, "sknet50", depths=depths).items()}
    ours = holding(tensors, "sknet50", depths=depths).train()
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    outputs = [network(x) for network in (ours, theirs)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-9 * outputs[1].abs().max().item())
    weights = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weights).mean().backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (mine.grad - other.grad).norm() <= 1e-7 * other.grad.norm(), name


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
