"""DCGAN: published sizes, the layers against torch's, and initial weights."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers.blocks.block_parts import NormConstructor
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.models.gan.dcgan import DCGANDiscriminator, DCGANGenerator
from gconv_gan.models.summary import summarise


def parameters(network: nn.Module, *, biases: bool = True) -> int:
    return sum(p.numel() for name, p in network.named_parameters() if biases or "norm" in name or not name.endswith("bias"))


def test_the_published_sizes() -> None:
    """3,576,704 and 2,765,568 weights: the counts of pytorch/examples at 64 px, z = 100, whose convolutions have no bias."""
    with torch.device("meta"):
        g = DCGANGenerator(image_size=64, width=512, latent_dim=100)
        d = DCGANDiscriminator(image_size=64, width=512, block_norm=BatchNorm2d)
    assert parameters(g, biases=False) == 3_576_704
    assert parameters(d, biases=False) == 2_765_568
    assert parameters(g) == 3_576_704 + 16 * 512 + 256 + 128 + 64 + 3
    assert parameters(d) == 2_765_568 + 64 + 128 + 256 + 512 + 1


@pytest.mark.parametrize(("size", "widths"), [(8, [64]), (32, [64, 32, 16]), (128, [64, 32, 16, 8, 4])])
def test_the_width_halves_as_the_side_doubles(size: int, widths: list[int]) -> None:
    g, d = DCGANGenerator(image_size=size, width=64), DCGANDiscriminator(image_size=size, width=64)
    assert [norm.num_features for norm in g.norms] == widths
    assert [conv.out_channels for conv in d.convs] == widths[::-1]
    assert d.linear.in_features == 64 * 16


def test_the_generator_is_dcgans_chain() -> None:
    torch.manual_seed(0)
    ours = DCGANGenerator(image_size=16, width=8, latent_dim=6).double()
    reference = nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 4, 2, 1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 4, 2, 1),
        nn.Tanh(),
    ).double()
    with torch.no_grad():
        ours.linear.bias.zero_()
        reference[0].weight.copy_(ours.linear.weight.view(8, 4, 4, 6).permute(3, 0, 1, 2))
        reference[3].weight.copy_(ours.convs[0].weight.transpose(0, 1))
        reference[6].weight.copy_(ours.to_rgb.weight.transpose(0, 1))
    for index, layer in {1: ours.norms[0], 4: ours.norms[1]}.items():
        reference[index].load_state_dict(layer.state_dict())
    reference[3].bias.data.copy_(ours.convs[0].bias)
    reference[6].bias.data.copy_(ours.to_rgb.bias)
    z = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(z), reference(z[:, :, None, None]))


@pytest.mark.parametrize("norm", [nn.Identity, BatchNorm2d])
def test_the_discriminator_is_dcgans_chain_with_a_projection(norm: NormConstructor) -> None:
    torch.manual_seed(0)
    d = DCGANDiscriminator(image_size=16, width=8, num_classes=3, block_norm=norm).double()
    x, y = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 2, 1, 2])
    h = F.leaky_relu(F.conv2d(x, d.convs[0].weight, d.convs[0].bias, 2, 1), 0.2)
    h = F.conv2d(h, d.convs[1].weight, d.convs[1].bias, 2, 1)
    if norm is BatchNorm2d:
        h = F.batch_norm(h, None, None, d.norms[1].weight, d.norms[1].bias, training=True)
    h = F.leaky_relu(h, 0.2)
    expected = F.conv2d(h, d.linear.weight.view(1, 8, 4, 4), d.linear.bias).flatten()
    expected = expected + (d.embedding.weight[y].view(4, 8, 4, 4) * h).sum((1, 2, 3))
    torch.testing.assert_close(d(x, y), expected)


def test_start() -> None:
    torch.manual_seed(0)
    g = DCGANGenerator(image_size=64, width=128, conv=partial(GConv2d, latent_dim=100))
    d = DCGANDiscriminator(image_size=64, width=128, block_norm=BatchNorm2d)
    for weight in (g.linear.weight, g.convs[0].dictionary, g.to_rgb.weight, d.convs[2].weight, d.linear.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    scales = torch.cat([m.weight for net in (g, d) for m in net.modules() if isinstance(m, BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=0.01)
    assert scales.std().item() == pytest.approx(0.02, rel=0.2)


def test_macs_of_a_transposed_convolution() -> None:
    rows = {row.name: row for row in summarise(DCGANGenerator(image_size=16, width=8, latent_dim=6), torch.zeros(1, 6))}
    assert rows["convs.0"].macs == 16 * 16 * 8 * 4  # pixels of the small map, taps, channels


def test_conditional_through_the_norms() -> None:
    torch.manual_seed(0)
    g = DCGANGenerator(image_size=16, width=8, latent_dim=6, num_classes=3).eval()
    z = torch.randn(1, 6)
    assert not torch.equal(g(z, torch.tensor([0])), g(z, torch.tensor([1])))
    with pytest.raises(ValueError, match="needs y"):
        g(z)
    with pytest.raises(ValueError, match="width 4 must be a multiple of 8 at 64 px"):
        DCGANGenerator(image_size=64, width=4)
