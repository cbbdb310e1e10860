"""Each resizer equals the tool it is named after."""

import pytest
import torch
import torch.nn.functional as F
from cleanfid.resize import build_resizer
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from gconv_gan.metrics.extractors.resize import clean_fid, pil_bicubic, tf1_bilinear, torch_bilinear

SIZES = [(32, 32), (8, 8), (300, 280), (31, 77), (400, 320)]


def pictures(h: int, w: int) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(h))


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_tf1_bilinear_equals_torch_fidelity(h: int, w: int) -> None:
    x = pictures(h, w)
    assert torch.equal(tf1_bilinear(x, 299), interpolate_bilinear_2d_like_tensorflow1x(x.float(), size=(299, 299), align_corners=False))


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_the_fast_bicubic_and_clean_fids_code_equal_clean_fids_mode(h: int, w: int) -> None:
    x, clean = pictures(h, w), build_resizer("clean")
    expected = torch.stack([torch.from_numpy(clean(image.permute(1, 2, 0).numpy())).permute(2, 0, 1) for image in x])
    assert torch.equal(clean_fid(x, 299), expected)
    torch.testing.assert_close(pil_bicubic(x, 299) / 255, expected / 255, rtol=0, atol=1e-6)


def test_images_of_299_pixels_are_unchanged() -> None:
    x = pictures(299, 299)
    for resize in (tf1_bilinear, pil_bicubic, clean_fid, torch_bilinear):
        assert torch.equal(resize(x, 299), x.float())


def test_the_three_resizers_differ() -> None:
    x = pictures(32, 32)
    a, b, c = (resize(x, 299) for resize in (tf1_bilinear, pil_bicubic, torch_bilinear))
    assert torch.equal(c, F.interpolate(x.float(), (299, 299), mode="bilinear", align_corners=False))
    assert min((a - b).abs().max(), (a - c).abs().max(), (b - c).abs().max()) > 10
