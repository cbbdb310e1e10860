"""Augmentations against padding, interpolation and explicit loops."""

import pytest
import torch
import torch.nn.functional as F

from gconv_gan.data.batches.augment import centre_crop, cutmix, cutmix_box, cutout, mixup, resized_crops, shifted
from gconv_gan.data.reading.transforms import to_unit

IMAGES = torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("padding", [1, 4, 7])
def test_a_shift_is_reflection_padding_and_a_crop(padding: int) -> None:
    corners = torch.randint(2 * padding + 1, (5, 2), generator=torch.Generator().manual_seed(padding))
    padded = F.pad(IMAGES.float(), [padding] * 4, mode="reflect")
    expected = torch.stack([image[:, i : i + 8, j : j + 8] for image, (i, j) in zip(padded, corners.tolist(), strict=True)])
    assert torch.equal(shifted(IMAGES, corners - padding), expected.to(torch.uint8))


def test_the_box_of_the_whole_image_is_the_image() -> None:
    whole = torch.tensor([[0.0, 0.0, 8.0, 8.0]]).expand(5, 4)
    torch.testing.assert_close(resized_crops(IMAGES, whole, 8), to_unit(IMAGES), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [4, 8, 11])
def test_a_box_on_whole_pixels_is_resampled_as_interpolate_does(size: int) -> None:
    box = torch.tensor([[2.0, 1.0, 6.0, 5.0]]).expand(5, 4)
    inside = to_unit(IMAGES)[:, :, 2:8, 1:6]
    expected = F.interpolate(inside, (size, size), mode="bilinear", align_corners=False)
    found = resized_crops(IMAGES, box, size)
    # at the box's border the crop may look outside it: compare where the samples lie between the box's pixel centres
    rows = (torch.arange(size) + 0.5) * 6 / size
    columns = (torch.arange(size) + 0.5) * 5 / size
    inner = ((rows >= 0.5) & (rows <= 5.5))[:, None] & ((columns >= 0.5) & (columns <= 4.5))
    assert inner.sum() >= 4
    torch.testing.assert_close(found[..., inner], expected[..., inner], rtol=0, atol=1e-5)


def test_the_centre_crop() -> None:
    assert torch.equal(centre_crop(IMAGES, 4), IMAGES[:, :, 2:6, 2:6])
    assert torch.equal(centre_crop(IMAGES, 5), IMAGES[:, :, 1:6, 1:6])


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_blanks_a_square_that_may_hang_over_the_border(side: int) -> None:
    centres = torch.tensor([[0, 0], [7, 7], [3, 4], [0, 5], [6, 1]])
    images = to_unit(IMAGES) + 2  # no pixel is zero
    expected = images.clone()
    for image, (row, column) in zip(expected, centres.tolist(), strict=True):
        for i in range(row - side // 2, row - side // 2 + side):
            for j in range(column - side // 2, column - side // 2 + side):
                if 0 <= i < 8 and 0 <= j < 8:
                    image[:, i, j] = 0
    assert torch.equal(cutout(images, centres, side), expected)


def test_mixup_is_the_weighted_mean() -> None:
    x, y = to_unit(IMAGES), to_unit(IMAGES).flip(0)
    torch.testing.assert_close(mixup(x, y, torch.tensor(0.3)), 0.3 * x + 0.7 * y)


def test_the_share_that_cutmix_reports_is_the_share_of_pixels_that_stay() -> None:
    x, y = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    generator = torch.Generator().manual_seed(1)
    for weight, *centre in torch.rand(50, 3, generator=generator):
        box, share = cutmix_box(weight, torch.stack(centre), 8)
        assert (cutmix(x, y, box) == 0).float().mean().item() == pytest.approx(share.item())


def test_a_box_in_the_middle_has_the_requested_area() -> None:
    def box(weight: float, *centre: float) -> tuple[list[int], float]:
        place, share = cutmix_box(torch.tensor(weight), torch.tensor(centre), 32)
        return place.tolist(), share.item()

    assert box(0.75, 0.5, 0.5) == ([8, 8, 24, 24], 0.75)
    assert box(0.75, 0.0, 0.5) == ([0, 8, 8, 24], 0.875)  # half of it over the border
    assert box(1.0, 0.5, 0.5)[1] == 1.0
