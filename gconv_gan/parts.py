"""Every table of parts. A plug-in adds rows: ``parts.CONVS["mine"] = MyConv2d``."""

from gconv_gan.layers.tables import ACTIVATIONS, BLOCK_NORMS, CONVS, DISCRIMINATOR_CONVS, NORMS, WEIGHT_NORMS
from gconv_gan.models.tables import DISCRIMINATORS, GENERATORS, MAPPINGS

__all__ = [
    "ACTIVATIONS",
    "BLOCK_NORMS",
    "CONVS",
    "DISCRIMINATORS",
    "DISCRIMINATOR_CONVS",
    "GENERATORS",
    "MAPPINGS",
    "NORMS",
    "WEIGHT_NORMS",
]
