"""The summary counts every parameter once under every weight normalisation, and its last line has plain integers."""

import re

import pytest
import torch
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.layers import AdaptiveConv2d, CConv2d, CondConv2d, Condition, DyConv2d, ModulatedConv2d, ODConv2d, apply
from gconv_gan.layers.blocks.non_local import NonLocal2d
from gconv_gan.layers.tables import WEIGHT_NORMS
from gconv_gan.models.classifiers.named import CLASSIFIERS
from gconv_gan.models.gan.resnet import ResNetDiscriminator, ResNetGenerator
from gconv_gan.models.summary import main, summarise, table
from tests.layers.test_contract import CONTRACTS, case


@pytest.mark.parametrize("norm", WEIGHT_NORMS)
def test_every_parameter_of_a_discriminator_is_counted_once(norm: str) -> None:
    plain, network = (ResNetDiscriminator(image_size=16, width=8, num_classes=3) for _ in range(2))
    if WEIGHT_NORMS[norm] is not None:
        WEIGHT_NORMS[norm]()(network)
    inputs = torch.zeros(1, 3, 16, 16), torch.zeros(1, dtype=torch.long)
    rows = summarise(network, *inputs)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in network.parameters())
    assert sum(row.macs for row in rows) == sum(row.macs for row in summarise(plain, *inputs))
    assert len({row.name for row in rows}) == len(rows)


def test_the_last_line_holds_plain_integers() -> None:
    network = ResNetGenerator(image_size=8, width=8, latent_dim=4)
    last = table(summarise(network, torch.zeros(1, 4), None)).splitlines()[-1]
    found = re.fullmatch(r"total: (\d+) params, (\d+) MACs", last)
    assert found is not None
    assert int(found[1]) == sum(p.numel() for p in network.parameters())


def test_the_products_of_attention_are_counted() -> None:
    rows = summarise(NonLocal2d.sagan(64), torch.zeros(1, 64, 16, 16))
    maps = 256 * (2 * 64 * 8 + 2 * 64 * 32)
    assert sum(row.macs for row in rows) == maps + 256 * 64 * (8 + 32)
    assert sum(row.parameters for row in rows) == 2 * 64 * 8 + 2 * 64 * 32 + 1
    rows = summarise(NonLocal2d(64), torch.zeros(1, 64, 16, 16))
    assert sum(row.macs for row in rows) == 4 * 256 * 64 * 32 + 2 * 256 * 32 * 32


class OneLayer(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return apply(self.layer, x, Condition(torch.zeros(1, 5), torch.zeros(1, dtype=torch.long)))


I, O, P, S = 8, 6, 9, 7 * 4  # noqa: E741  input and output channels, taps, pixels of the input
CONV = I * O * P * S


@pytest.mark.parametrize(
    ("layer", "more"),
    [
        (CondConv2d(I, O, 3, padding=1, num_kernels=4), I * 4 + 4 * I * O * P),
        (CondConv2d(I, O, 3, padding=1, num_kernels=1), I),
        (DyConv2d(I, O, 3, padding=1, num_kernels=3, reduction=0.5), I * 4 + 4 * 3 + 3 * I * O * P),
        (ODConv2d(I, O, 3, padding=1, num_kernels=4), I * 16 + 16 * (I + O + P + 4) + 4 * I * O * P),
        (CConv2d(I, O, 3, padding=1, num_classes=3), I * S + P * S),
        (ModulatedConv2d(I, O, 3, padding=1, latent_dim=5), 5 * I + I * O),
        (ModulatedConv2d(I, O, 3, padding=1, latent_dim=5, demodulate=False), 5 * I),
        (AdaptiveConv2d(I, O, 3, padding=1, latent_dim=5, num_kernels=3), 5 * I + 5 * 3 + 3 * I * O * P + 6 * I * O),
    ],
    ids=lambda value: type(value).__name__,
)
def test_dynamic_convolutions_count_gates_mixing_and_demodulation(layer: nn.Module, more: int) -> None:
    rows = summarise(OneLayer(layer), torch.zeros(1, I, 7, 4))
    assert sum(row.macs for row in rows) == CONV + more
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in layer.parameters())


def test_the_box_filter_of_a_class_conditional_convolution_is_fused_too() -> None:
    rows = summarise(OneLayer(CConv2d(I, O, 3, padding=1, groups=2, num_classes=3, resample="up")), torch.zeros(1, I, 7, 4))
    assert sum(row.macs for row in rows) == (I // 2 * O + 2) * 16 * S + I * S


def last_line(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"total: (\d+) params, (\d+) MACs", text.splitlines()[-1])
    assert found is not None
    return int(found[1]), int(found[2])


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["wrn_16_4"])
    table = capsys.readouterr().out
    assert last_line(table) == (2_748_890, 392_612_352)
    assert "trunk.stage1.0.branch.conv1" in table
    main(["ghostnet_100", "--num-classes", "10"])
    assert last_line(capsys.readouterr().out) == (3_914_318, 139_883_312)
    main(["wrn_28_10", "--num-classes", "200", "--image-size", "64"])
    assert last_line(capsys.readouterr().out) == (36_600_984, 20_973_417_472)
    main([])
    assert capsys.readouterr().out.split() == sorted(CLASSIFIERS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["wrn_16_5"], "did you mean wrn_16_"),
        (["wrn_16_4", "--num-classes", "0"], "must be positive"),
        (["wrn_16_4", "--num-clases", "3"], "did you mean --num-classes"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        main(arguments)
    assert "\n" not in str(refused.value)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_parameter_of_every_layer_is_counted_once(name: str) -> None:
    contract = CONTRACTS[name]
    c = case(contract)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = c.layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return c.run(x)

    rows = summarise(Network(), c.x)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in c.layer.parameters())
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("wrn", r"did you mean wrn_\w+ or .* \(or one of \d+ others\)\? gconv-gan layers lists all \d+$"),
        ("resnet_18", r"did you mean resnet18 or "),
        ("xyz", r"'xyz'; gconv-gan layers lists all \d+$"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        main([name])
