"""The resizers of the field's FID tools. Their pixels differ, so a score card names the resizer.

Paper: Parmar, Zhang, Zhu, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", arXiv 2104.11222 (2022).
All take bytes [b, 3, h, w], return float32 in [0, 255] and are not rounded to bytes again.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

Resized = Float32[Tensor, "b 3 s s"]


def _linear_taps(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return, per output pixel i, the two source pixels around i·(old/new) and the weight of the second."""
    # In float32, as in TensorFlow's graph: at some sizes the floor of the float64 product differs.
    position = torch.arange(new, device=device, dtype=torch.float32) * torch.tensor(old / new, dtype=torch.float32)
    low = position.long()
    return low, (low + 1).clamp_max(old - 1), position - low


def tf1_bilinear(images: UInt8[Tensor, "b 3 h w"], size: int) -> Resized:
    """Return the images resized as in TensorFlow 1: source coordinate i·(h/size) without the half-pixel shift, no antialiasing."""
    rows = _interpolated(images.float(), 3, size)
    return _interpolated(rows, 2, size)


def _interpolated(x: Float32[Tensor, "b 3 h w"], axis: int, size: int) -> Float32[Tensor, "b 3 h2 w2"]:
    """Return low + (high - low)·weight along an axis, in place, so that large images are allocated once."""
    low, high, weight = _linear_taps(x.shape[axis], size, x.device)
    below, result = x.index_select(axis, low), x.index_select(axis, high)
    return result.sub_(below).mul_(weight if axis == 3 else weight[:, None]).add_(below)


def _bicubic_weights(old: int, new: int, device: torch.device) -> Float32[Tensor, "new old"]:
    """Return PIL's weight of each source pixel in each output pixel: Keys' cubic with a = -1/2, widened when shrinking."""
    scale = max(old / new, 1.0)
    centres = (torch.arange(new, dtype=torch.float64, device=device) + 0.5) * (old / new)
    t = ((torch.arange(old, dtype=torch.float64, device=device) + 0.5 - centres[:, None]) / scale).abs()
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    weights = torch.where(t < 1, near, torch.where(t < 2, far, 0.0))
    return (weights / weights.sum(1, keepdim=True)).float()


def pil_bicubic(images: UInt8[Tensor, "b 3 h w"], size: int) -> Resized:
    """Return the images resized as by PIL with BICUBIC on float channels (clean-fid's "clean"): antialiased, then cut to [0, 255].

    ``F.interpolate(mode="bicubic", antialias=True)`` is close, but up to 3e-5 of the range away when it shrinks.
    """
    x = images.float() @ _bicubic_weights(images.shape[3], size, images.device).T
    return (_bicubic_weights(images.shape[2], size, images.device) @ x).clamp(0, 255)


def clean_fid(images: UInt8[Tensor, "b 3 h w"], size: int) -> Resized:
    """Return the images resized by clean-fid's own code, one by one on the CPU; ``pil_bicubic`` is its fast form, equal up to rounding."""
    from cleanfid.resize import make_resizer

    resize = make_resizer("PIL", False, "bicubic", (size, size))
    resized = [torch.from_numpy(resize(image)) for image in images.permute(0, 2, 3, 1).cpu().numpy()]
    return torch.stack(resized).permute(0, 3, 1, 2).to(images.device)


def torch_bilinear(images: UInt8[Tensor, "b 3 h w"], size: int) -> Resized:
    """Return the images resized as by ``F.interpolate`` (pytorch-fid): half-pixel centres, no antialiasing."""
    return F.interpolate(images.float(), (size, size), mode="bilinear", align_corners=False)


RESIZERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "tf1_bilinear": tf1_bilinear,
    "pil_bicubic": pil_bicubic,
    "clean_fid": clean_fid,
    "torch_bilinear": torch_bilinear,
}
