"""Augmentations of a whole batch at once; their parameters for each image are arguments, not drawn here.

Crops are index arithmetic on the stored bytes: exact, and the same on every device.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from gconv_gan.data.reading.transforms import to_unit


def reflected(index: Int[Tensor, "*n"], length: int) -> Int[Tensor, "*n"]:
    """Return positions outside 0 … length - 1 mirrored at the borders, which are not repeated: -1 becomes 1."""
    folded = index.abs() % max(1, 2 * (length - 1))
    return torch.minimum(folded, (2 * (length - 1) - folded).abs())


def shifted(images: Shaped[Tensor, "b c h w"], offsets: Int[Tensor, "b 2"]) -> Shaped[Tensor, "b c h w"]:
    """Return each image moved by its offset (rows, columns), the uncovered border filled by reflection.

    Padding by p on every side and cropping the old size at (i, j) is an offset of (i - p, j - p).
    """
    height, width = images.shape[2:]
    rows = reflected(torch.arange(height, device=images.device) + offsets[:, :1], height)
    columns = reflected(torch.arange(width, device=images.device) + offsets[:, 1:], width)
    image = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[:, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def resized_crops(images: Shaped[Tensor, "b c h w"], boxes: Float[Tensor, "b 4"], size: int) -> Float[Tensor, "b c s s"]:
    """Return the box (top, left, height, width, in pixels) of each image resampled to size² bilinearly, in [-1, 1].

    Half-pixel centres, as ``F.interpolate(align_corners=False)``: the box of the whole image at its own size is the image.
    """
    height, width = images.shape[2:]
    steps = (torch.arange(size, device=images.device) + 0.5) / size
    rows = (boxes[:, :1] + steps * boxes[:, 2:3]) / height * 2 - 1
    columns = (boxes[:, 1:2] + steps * boxes[:, 3:]) / width * 2 - 1
    grid = torch.stack([columns[:, None, :].expand(-1, size, -1), rows[:, :, None].expand(-1, -1, size)], -1)
    return F.grid_sample(to_unit(images), grid, mode="bilinear", padding_mode="border", align_corners=False)


def centre_crop(images: Shaped[Tensor, "b c h w"], size: int) -> Shaped[Tensor, "b c s s"]:
    """Return the middle size² of each image."""
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]


def cutout(images: Float[Tensor, "b c h w"], centres: Int[Tensor, "b 2"], side: int) -> Float[Tensor, "b c h w"]:
    """Return the images with a square of ``side`` around each centre (row, column) set to 0, mid-grey; it may extend over the border.

    DeVries and Taylor, "Improved Regularization of CNNs with Cutout", arXiv 1708.04552: the centre is uniform over the image.
    """
    height, width = images.shape[2:]
    top, left = (centres - side // 2).T
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    inside_rows = (rows >= top[:, None]) & (rows < top[:, None] + side)
    inside_columns = (columns >= left[:, None]) & (columns < left[:, None] + side)
    hole = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return images.masked_fill(hole, 0.0)


def mixup(images: Float[Tensor, "b c h w"], partners: Float[Tensor, "b c h w"], weight: Float[Tensor, ""]) -> Float[Tensor, "b c h w"]:
    r"""Return :math:`\lambda x + (1 - \lambda) x'` (Zhang et al., "mixup", arXiv 1710.09412)."""
    return weight * images + (1 - weight) * partners


def cutmix(images: Float[Tensor, "b c h w"], partners: Float[Tensor, "b c h w"], box: Int[Tensor, "4"]) -> Float[Tensor, "b c h w"]:
    """Return the images with ``box`` (top, left, bottom, right) taken from their partners (Yun et al., "CutMix", arXiv 1905.04899)."""
    top, left, bottom, right = box
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[2:])
    inside = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))
    return torch.where(inside, partners, images)


def cutmix_box(weight: Float[Tensor, ""], centre: Float[Tensor, "2"], side: int) -> tuple[Int[Tensor, "4"], Float[Tensor, ""]]:
    r"""Return CutMix's box in an image of side² and the share of the image that stays.

    The box has sides :math:`s\sqrt{1 - \lambda}` around ``centre`` (row and column, each in [0, 1)), clipped at the border; the share is
    that of the clipped box, as the official code corrects it.
    """
    half = (side * (1 - weight).sqrt()).long() // 2
    middle = (centre * side).long()
    box = torch.cat([middle - half, middle + half]).clamp(0, side)
    return box, 1 - (box[2] - box[0]) * (box[3] - box[1]) / side**2
