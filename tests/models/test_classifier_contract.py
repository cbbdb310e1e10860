"""One contract for every named classifier: shapes, gradients, modes, copies, exchange of parts.

With few channels and at most two blocks or modules of a kind in a row: sizes and depths are those of test_classifiers.py.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gconv_gan.layers import IterNorm, SqueezeExcite
from gconv_gan.layers.dropout import seed_dropout
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.models.classifiers.classifier import Classifier
from gconv_gan.models.classifiers.conv_net import ConvNet
from gconv_gan.models.classifiers.elu_net import ELUNet
from gconv_gan.models.classifiers.g_ghost_regnet import RegNetX
from gconv_gan.models.classifiers.ghostnet import GhostNet
from gconv_gan.models.classifiers.mgic_net import MGIC_LARGE, MGICMobileNetV3, MGICResNet
from gconv_gan.models.classifiers.mobilenet_v3 import MobileNetV3
from gconv_gan.models.classifiers.named import CLASSIFIERS, build_classifier
from gconv_gan.models.classifiers.plain_net import PlainNet
from gconv_gan.models.classifiers.residual_attention_net import ResidualAttentionNet
from gconv_gan.models.classifiers.resnet import PreactResNet, ResNet
from gconv_gan.models.classifiers.sknet import SKNet
from gconv_gan.models.classifiers.vgg import VGG
from gconv_gan.models.classifiers.wide_resnet import WideResNet

CLASSES = 5

Keywords = dict[str, Any]


def shallow(table: Keywords) -> tuple[int, ...]:
    return tuple(min(depth, 3 if "ghost_ratio" in table else 2) for depth in table["depths"])


def narrow_resnet(table: Keywords) -> Keywords:
    grouped = getattr(table.get("block"), "keywords", {}).get("groups", 1) > 1
    depths = shallow(table)
    return {"depths": depths, "widths": (64,) * len(depths) if grouped else (8, 8, 12, 16)[: len(depths)], "stem_width": 8}


def narrow_attention(table: Keywords) -> Keywords:
    width = 64 if "block" in table else 8
    return {"stages": [row._replace(width=width, modules=min(row.modules, 2)) for row in table["stages"]], "stem_width": 8}


def narrow_multigrid(table: Keywords) -> Keywords:
    rows = dict.fromkeys(row._replace(out_channels=16) for row in table.get("rows", MGIC_LARGE))
    return {"rows": list(rows)}


# from the keywords of a row of the table to those that leave its network the wiring, and take away most channels and repetitions
NARROW: dict[type[Classifier], Callable[[Keywords], Keywords]] = {
    ConvNet: lambda _: {"widths": (4, 8, 8, 16)},
    ELUNet: lambda _: {"width": 1 / 64},
    GhostNet: lambda _: {"width": 0.25},
    MGICMobileNetV3: narrow_multigrid,
    MGICResNet: lambda table: {"depths": shallow(table), "widths": (16,) * 4},
    MobileNetV3: lambda _: {"width": 0.25},
    PlainNet: lambda _: {"width": 8, "depth": 7},
    PreactResNet: narrow_resnet,
    RegNetX: lambda table: {"depths": shallow(table), "widths": (24,) * 4, "group_width": 8, "stem_width": 8},
    ResNet: narrow_resnet,
    ResidualAttentionNet: narrow_attention,
    SKNet: lambda table: {"depths": shallow(table), "widths": (64,) * len(table["depths"])},
    VGG: lambda table: {"widths": (8,) * 5, "hidden": (16,) * len(table.get("hidden", (1,)))},
    WideResNet: lambda table: {"depth": min(table["depth"], 16), "width": 1},
}


def narrow(name: str, **swaps: Any) -> Classifier:
    constructor = CLASSIFIERS[name]
    torch.manual_seed(0)
    return build_classifier(name, num_classes=CLASSES, **NARROW[constructor.func](constructor.keywords), **swaps)


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_named_classifier(name: str) -> None:
    network, x = narrow(name).double(), images().double()
    before = x.clone()
    for module in network.modules():
        if isinstance(module, BatchNorm2d):
            module.momentum = 1.0  # evaluation then has this batch's statistics, and activations stay moderate at any depth

    y = network(x)
    assert y.shape == (3, CLASSES)
    y.square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    assert torch.equal(x, before)

    with torch.no_grad():
        y = network.eval()(x)
        features = network.features(x)
        assert y.isfinite().all()
        assert torch.equal(y, network(x))
        assert features.shape == (3, network.feature_dim)
        torch.testing.assert_close(network.head(features), y)
        torch.testing.assert_close(network(x[1:2]), y[1:2], rtol=0, atol=1e-6 * y.abs().max().item())

        restored = narrow(name).double()
        for parameter in restored.parameters():
            parameter.zero_()
        restored.load_state_dict(network.state_dict())
        assert torch.equal(restored.eval()(x), y)

        twin = copy.deepcopy(network)
        assert torch.equal(twin(x), y)
        for parameter in twin.parameters():
            parameter.add_(1.0)
        assert torch.equal(network(x), y)


def trained(network: Classifier, *, seed: int) -> dict[str, Tensor]:
    """Return the weights after two steps on one batch, with dropout drawn from ``seed``."""
    torch.manual_seed(torch.seed())  # nothing may depend on torch's global generator
    masks = seed_dropout(network.train(), seed, device=torch.device("cpu"))
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    labels = torch.arange(3)
    for masks.step in range(2):
        masks.indices = torch.arange(3)
        torch.autograd.backward(cross_entropy(network(images()), labels))
        optimizer.step()
        optimizer.zero_grad()
    return network.state_dict()


# networks whose tables leave the dropout of their papers to the caller
DROPPING: dict[str, Keywords] = {"wrn_16_4": {"dropout": 0.3}, "elu_net_11": {"dropouts": (0.1, 0.1, 0.2, 0.3, 0.4, 0.5)}}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_two_steps_are_a_function_of_the_seed(name: str) -> None:
    swaps = DROPPING.get(name, {})
    first, again, other = (trained(narrow(name, **swaps), seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    drops = any(isinstance(module, nn.Dropout) and module.p for module in narrow(name, **swaps).modules())
    assert any(not torch.equal(first[key], other[key]) for key in first) == drops


@pytest.mark.parametrize("name", ["ghostnet_100", "mobilenetv3_small", "vgg16_bn", "g_ghost_regnetx_002", *DROPPING])
def test_networks_of_papers_with_dropout_use_it(name: str) -> None:
    assert any(isinstance(module, nn.Dropout) and module.p for module in narrow(name, **DROPPING.get(name, {})).modules())


ONE_OF_EACH = {
    "convnet": ConvNet,
    "elu_net_11": ELUNet,
    "ghostnet_100": GhostNet,
    "mgic_mobilenetv3_small_g8": MGICMobileNetV3,
    "mgic_resnet18_g8": MGICResNet,
    "mobilenetv3_small": MobileNetV3,
    "plain_net": PlainNet,
    "preact_resnet18_cifar": PreactResNet,
    "g_ghost_regnetx_002": RegNetX,
    "resnet18": ResNet,
    "resnet20": ResNet,
    "attention_56_cifar": ResidualAttentionNet,
    "attention_next_56": ResidualAttentionNet,
    "sknet26": SKNet,
    "vgg11_cifar": VGG,
    "wrn_10_1": WideResNet,
}


class Mark(nn.Identity):
    """A marker in place of a part, to find where it is used."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()


def kinds(network: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in network.modules()}


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(type(module) is kind for module in network.modules())


def test_the_exchange_is_tried_on_every_class() -> None:
    assert set(ONE_OF_EACH.values()) == {constructor.func for constructor in CLASSIFIERS.values()} == set(NARROW)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_norms_are_exchanged_and_left_out(name: str) -> None:
    assert isinstance(narrow(name), ONE_OF_EACH[name])
    network = narrow(name, norm=partial(nn.GroupNorm, 1))
    assert BatchNorm2d not in kinds(network)
    if ONE_OF_EACH[name] not in (ELUNet, PlainNet):  # which have none of their own
        assert count(network, nn.GroupNorm) == count(narrow(name), BatchNorm2d)
    assert network(images(1)).isfinite().all()

    bare = narrow(name, norm=None)
    assert not kinds(bare) & {BatchNorm2d, nn.GroupNorm}
    assert bare(images(1)).isfinite().all()
    assert next(module for module in bare.modules() if isinstance(module, nn.Conv2d)).bias is not None


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_activations_are_exchanged(name: str) -> None:
    early_or_late = {MobileNetV3: "early_activation", MGICMobileNetV3: "late_activation"}.get(ONE_OF_EACH[name])
    swaps = {"activation": nn.SiLU, "attention": Mark} | ({early_or_late: nn.SiLU} if early_or_late else {})
    assert not kinds(narrow(name, **swaps)) & {nn.ReLU, nn.ELU, nn.Hardswish}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_attentions_are_exchanged(name: str) -> None:
    assert count(narrow(name, attention=Mark), Mark) >= 1
    network = narrow(name, attention=lambda channels: SqueezeExcite(channels, 2))
    network(images()).sum().backward()
    assert all(module.reduce.weight.grad is not None for module in network.modules() if isinstance(module, SqueezeExcite))


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_convolutions_are_exchanged(name: str) -> None:
    class Circular(nn.Conv2d):
        pass

    network = narrow(name, conv=Circular)
    dense = [m for m in network.modules() if type(m) is nn.Conv2d and m.groups == 1]
    plain = narrow(name)
    assert count(network, Circular) > 0
    # what stays plain is small: gates of an attention, the two of a G-Ghost mix, averages of a multigrid
    assert len(dense) < sum(type(m) is nn.Conv2d for m in plain.modules()) / 2
    first = narrow(name, stem_conv=Circular)
    assert count(first, Circular) == 1


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_whitened_order_trains(name: str) -> None:
    network = narrow(name, order="whitened", norm=partial(IterNorm, affine=False, group_size=4))
    assert IterNorm in kinds(network)
    network(images(4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.eval()(images()).isfinite().all()
