"""Skip-connected networks: the image is the sum over resolutions, and the discriminator receives every resolution."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.models.gan.skip import SkipDiscriminator, SkipGenerator


def up(t: torch.Tensor) -> torch.Tensor:
    return t.repeat_interleave(2, 2).repeat_interleave(2, 3)


def act(t: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(t, 0.2)


def test_the_generator_is_what_the_equations_say() -> None:
    torch.manual_seed(0)
    g = SkipGenerator(image_size=16, width=6, latent_dim=4).double()
    z = torch.randn(3, 4, dtype=torch.float64)
    h = (z @ g.linear.weight.T + g.linear.bias).view(3, 6, 4, 4)
    image = None
    for block in g.blocks:
        for index, (conv, norm) in enumerate(zip(block.convs, block.norms, strict=True)):
            h = F.conv2d(up(h) if image is not None and index == 0 else h, conv.weight, conv.bias, padding=1)
            h = act(F.batch_norm(h, None, None, norm.weight, norm.bias, training=True))
        rgb = F.conv2d(h, block.to_rgb.weight, block.to_rgb.bias)
        image = rgb if image is None else rgb + F.interpolate(image, scale_factor=2, mode="bilinear")
    assert [len(block.convs) for block in g.blocks] == [1, 2, 2]
    torch.testing.assert_close(g(z), torch.tanh(image))


def test_bilinear_upsampling_is_stylegan2s_filter_inside() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 6, 6)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    filtered = F.conv_transpose2d(x, torch.outer(taps, taps)[None, None], stride=2, padding=1)
    ours = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours[..., 2:-2, 2:-2], filtered[..., 2:-2, 2:-2])


def test_the_discriminator_is_what_the_equations_say() -> None:
    torch.manual_seed(0)
    d = SkipDiscriminator(image_size=16, width=6, num_classes=2).double()
    x, y = torch.randn(3, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 1])
    h, image = torch.zeros(()), x
    for block in d.blocks:
        h = h + act(F.conv2d(image, block.from_rgb.weight, block.from_rgb.bias))
        h = act(F.conv2d(h, block.conv1.weight, block.conv1.bias, padding=1))
        h = act(F.avg_pool2d(F.conv2d(h, block.conv2.weight, block.conv2.bias, padding=1), 2))
        image = F.avg_pool2d(image, 2)
    assert image.shape[-1] == 4
    features = act(F.conv2d(h, d.last_conv.weight, d.last_conv.bias, padding=1)).sum((2, 3))
    expected = features @ d.linear.weight[0] + d.linear.bias + (d.embedding.weight[y] * features).sum(1)
    torch.testing.assert_close(d(x, y), expected)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("size", "widths"), [(64, [512, 256, 128, 64, 32]), (128, [512, 512, 256, 128, 64, 32])])
def test_parameters(size: int, widths: list[int]) -> None:
    def conv(i: int, o: int, side: int = 3) -> int:
        return (side * side * i + 1) * o

    c0, pairs = widths[0], list(zip(widths[:-1], widths[1:], strict=True))
    generator = 129 * 16 * c0 + conv(c0, c0) + 2 * c0 + conv(c0, 3, 1)
    generator += sum(conv(i, o) + conv(o, o) + 4 * o + conv(o, 3, 1) for i, o in pairs)
    discriminator = sum(conv(3, o, 1) + conv(o, o) + conv(o, i) for i, o in pairs) + conv(c0, c0) + c0 + 1
    with torch.device("meta"):
        assert parameters(SkipGenerator(image_size=size, width=512)) == generator
        assert parameters(SkipDiscriminator(image_size=size, width=512)) == discriminator


def test_refusals() -> None:
    with pytest.raises(ValueError, match="image_size 48 is not among"):
        SkipGenerator(image_size=48, width=16)
    with pytest.raises(ValueError, match="discriminator width 24 must be a multiple of 16"):
        SkipDiscriminator(image_size=64, width=24)
