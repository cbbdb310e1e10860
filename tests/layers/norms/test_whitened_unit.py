"""The whitened unit: order, widths, folding."""

import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers.norms.iter_norm import IterNorm
from gconv_gan.layers.norms.whitened_unit import WhitenedUnit
from tests.layers.made import correlated
from tests.reference.whitening import iter_norm


def test_order_and_widths() -> None:
    unit = WhitenedUnit(6, 8, 3, stride=2, activation=nn.ELU)
    assert [(name, type(child)) for name, child in unit.named_children()] == [
        ("norm", IterNorm),
        ("conv", nn.Conv2d),
        ("activation", nn.ELU),
    ]
    assert unit.norm.num_features == 6
    assert unit.norm.weight is None
    assert unit.conv.bias is not None


def test_it_convolves_the_whitened_input() -> None:
    torch.manual_seed(0)
    unit, x = WhitenedUnit(6, 8, 3, stride=2).double(), correlated(3, 6, 6, 5)
    expected = F.relu(F.conv2d(iter_norm(x, 6, 5, 1e-5), unit.conv.weight, unit.conv.bias, stride=2, padding=1))
    torch.testing.assert_close(unit(x), expected, rtol=1e-10, atol=1e-10)


def test_the_convolution_absorbs_scale_and_shift_away_from_borders() -> None:
    torch.manual_seed(0)
    affine, plain, x = WhitenedUnit(4, 5, 3, norm=IterNorm).double(), WhitenedUnit(4, 5, 3).double(), correlated(3, 4, 6, 6)
    with torch.no_grad():
        scale, shift = affine.norm.weight.normal_(), affine.norm.bias.normal_()
        plain.conv.weight.copy_(affine.conv.weight * scale[:, None, None])
        plain.conv.bias.copy_(affine.conv.bias + torch.einsum("oikl,i->o", affine.conv.weight, shift))
    with_affine, folded = affine(x), plain(x)
    torch.testing.assert_close(folded[..., 1:-1, 1:-1], with_affine[..., 1:-1, 1:-1], rtol=0, atol=1e-6)
    assert not torch.allclose(folded, with_affine, atol=1e-6)
