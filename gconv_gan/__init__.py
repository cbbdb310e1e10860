"""GAN training centred on generative convolution: kernels selected and combined by the latent vector.

Layers are in ``gconv_gan.layers``; runs are trained, loaded and scored by the functions below (``gconv_gan.api``).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gconv_gan.api import GAN, Classifier, load, score, train

__all__ = ["GAN", "Classifier", "load", "score", "train"]


def __getattr__(name: str) -> Any:
    # imported on first use: the import of a single layer does not load training, scores and galleries
    if name in __all__:
        from gconv_gan import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
