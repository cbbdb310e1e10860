"""Consistency regularisation: a penalty on the change of an image's logit under mirroring and small shifts.

Zhang, Zhang, Odena, Lee, arXiv 1910.12027 (CR, real images); Zhao, Singh, Lee, Zhang, Odena, Zhang, arXiv 2002.04724 (bCR, both).
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Consistency:
    r"""The penalty :math:`\lambda_r E (D(x_r) - D(T(x_r)))^2 + \lambda_f E (D(x_f) - D(T(x_f)))^2`; gradients flow through all four."""

    real_weight: float
    fake_weight: float

    def __call__(
        self,
        real: Float[Tensor, " b"],
        fake: Float[Tensor, " b"],
        real_twin: Float[Tensor, " b"],
        fake_twin: Float[Tensor, " b"],
    ) -> Float[Tensor, ""]:
        """Return the penalty of the logits of images and of their transformed copies."""
        return self.real_weight * (real - real_twin).square().mean() + self.fake_weight * (fake - fake_twin).square().mean()
