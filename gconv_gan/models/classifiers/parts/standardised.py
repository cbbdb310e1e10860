"""A classifier with built-in standardisation of its input, called with pixels in [-1, 1]."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers import InputBatchNorm2d


class _InputNormalised(nn.Module, ABC):
    """``network`` applied to ``standard`` of its input; ``features``, ``head`` and output are the network's."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.image_size, self.num_classes, self.feature_dim = network.image_size, network.num_classes, network.feature_dim

    @abstractmethod
    def standard(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        """Return the network's input for pixels in [-1, 1]."""

    @property
    def head(self) -> nn.Module:
        """Return the linear map from features to logits."""
        head: nn.Module = self.network.head
        return head

    def features(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Return the input of the head."""
        features: Tensor = self.network.features(self.standard(x))
        return features

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b k"]:
        logits: Tensor = self.network(self.standard(x))
        return logits


class Standardised(_InputNormalised):
    r"""``network`` of :math:`(x - \mu) / \sigma`, per colour channel.

    Shapes: input [B, 3, s, s] in [-1, 1]; ``features`` and output as the network's. The two constants are saved with it.

    Args:
        network: the classifier, with ``features`` and ``head``.
        mean: μ of each channel, of pixels in [-1, 1].
        deviation: σ of each channel.

    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: Any, *, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__(network)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None])

    def standard(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        """Return (x - μ) / σ."""
        return (x - self.mean) / self.deviation


class BatchNormalisedInput(_InputNormalised):
    r"""``network`` of :math:`0.58\,\gamma_0\,\mathrm{BN}(x)`, the scale learned: ``InputBatchNorm2d`` instead of constants.

    Shapes: input [B, 3, s, s] in [-1, 1]; ``features`` and output as the network's.

    Args:
        network: the classifier, with ``features`` and ``head``.
        scale: γ₀, the initial scale of the network's own norms.

    """

    def __init__(self, network: Any, *, scale: float) -> None:
        super().__init__(network)
        self.input_norm = InputBatchNorm2d(scale=scale)

    def standard(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        """Return the normalised images."""
        images: Tensor = self.input_norm(x)
        return images
