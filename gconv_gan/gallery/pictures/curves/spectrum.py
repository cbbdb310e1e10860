r"""Radial power spectra of samples and of real images.

Generators often miss, or add, power at the highest frequencies: Durall, Keuper, Keuper, "Watch your Up-Convolution", arXiv 2003.01826
(2020), section 3, where the azimuthal average is the one below.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from gconv_gan.gallery.pictures.curves.curves_svg import curves_svg
from gconv_gan.gallery.pictures.curves.history import Series
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import as_bytes, read_tiles
from gconv_gan.gallery.trained_generator import TrainedGenerator

GREY_LEVELS = 255
FLOOR = 1e-12  # lower limit of the power before the logarithm: that of an image of one colour is 0

Spectrum = Float64[Tensor, " r"]


def radial_power_spectrum(images: UInt8[Tensor, "n 3 s s"] | Float[Tensor, "n 3 s s"]) -> Spectrum:
    r"""Return the mean power at each whole number of cycles per image side, 0 to s/2.

    .. math::
        P(k) = \frac{1}{n\,|A_k|} \sum_{i} \sum_{(u,v) \in A_k} \frac{|F_i(u, v)|^2}{s^2}, \qquad
        A_k = \{(u, v) : \operatorname{round}\sqrt{u^2 + v^2} = k\},

    with :math:`F_i` the discrete Fourier transform of image i, the mean of its three channels, and u, v in cycles per side,
    -s/2 ≤ u, v < s/2. The unit is that of a squared pixel value: white noise of variance σ² has P(k) = σ² at every k > 0, and P(0) is s²
    times the squared mean. Corners beyond s/2 belong to no k. Computed in float64.

    Args:
        images: squares of any values.

    """
    side = images.shape[-1]
    power = torch.fft.fft2(images.double().mean(1)).abs().square().mean(0) / side**2
    cycles = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)
    radius = (cycles[:, None].square() + cycles.square()).sqrt().round().long()
    inside = radius <= side // 2
    total = torch.zeros(side // 2 + 1, dtype=torch.float64).index_add_(0, radius[inside], power[inside])
    return total / torch.bincount(radius[inside], minlength=side // 2 + 1)


def decibels(spectrum: Spectrum) -> Spectrum:
    """Return 10 log10 P, where P is the power of pixel values in [0, 1]."""
    return 10 * spectrum.clamp_min(FLOOR).log10()


def draw_spectrum(trained: TrainedGenerator, *, seed: int, count: int) -> list[Drawing]:
    """Return the plot of the power spectra of samples and of as many training images."""
    reals = real_images(trained, count)
    if reals is None:
        return []
    sets = {"training images": reals, "samples": as_bytes(trained.numbered_images(seed, count))}
    curves = {name: decibels(radial_power_spectrum(images.double() / GREY_LEVELS))[1:] for name, images in sets.items()}
    gap = curves["samples"] - curves["training images"]
    widest = int(gap.abs().argmax())
    facts = {
        "mean difference": f"{gap.abs().mean():.2f} dB",
        "largest": f"{gap[widest]:+.2f} dB at {widest + 1} cycles",
        "images": f"{len(sets['samples'])} samples, {len(reals)} real",
    }
    alt = (
        f"Power in decibels over cycles per image side, samples beside training images; they differ by {facts['mean difference']} on "
        f"average and by at most {facts['largest']}."
    )
    points = {name: tuple((float(cycles), float(power)) for cycles, power in enumerate(curve, start=1)) for name, curve in curves.items()}
    return [
        Drawing(
            file="spectrum.svg",
            content=curves_svg(Series("spectrum", "Radial power spectrum", points, across="cycles per image side"), label=alt),
            title="Radial power spectrum, dB",
            caption="Power of the brightness, averaged over all directions; low frequencies at the left, single pixels at the right.",
            alt=alt,
            facts=facts,
            shape="panel",
        )
    ]


def real_images(trained: TrainedGenerator, count: int) -> UInt8[Tensor, "n 3 h w"] | None:
    """Return ``count`` training images at even distances, or those of the run's grid of real images, or None."""
    if trained.training is not None:
        total = len(trained.training.images)
        return torch.from_numpy(np.array(trained.training.images[np.unique(np.linspace(0, total - 1, count).astype(int))]))
    return None if trained.reals is None else read_tiles(trained.reals, side=trained.image_size)
