"""The transformation of consistency regularisation: mirroring and a small shift."""

import torch
from jaxtyping import Float
from torch import Tensor

from gconv_gan.augment.uniform import coin, integer
from gconv_gan.data.batches.augment import shifted
from gconv_gan.data.reading.transforms import flip

NUMBERS_PER_IMAGE = 3


def weak_augment(images: Float[Tensor, "b c s s"], draws: Float[Tensor, "b 3"]) -> Float[Tensor, "b c s s"]:
    """Return images mirrored with probability ½ and shifted by up to ⌊S/8⌋ pixels each way, reflecting (arXiv 1910.12027, section 3)."""
    reach = images.shape[-1] // 8
    mirror, rows, columns = draws.unbind(1)
    offsets = torch.stack([integer(rows, -reach, reach), integer(columns, -reach, reach)], 1)
    return shifted(flip(images, coin(mirror)), offsets)
