"""LeCam regularisation: a penalty on the distance of logits of real (generated) images from the average logit of the other kind.

Tseng, Jiang, Liu, Yang, Yang, "Regularizing Generative Adversarial Networks under Limited Data", arXiv 2104.03310 (2021).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class LeCam(nn.Module):
    r"""The penalty :math:`\lambda (E\,\mathrm{relu}(s_r - a_f)^2 + E\,\mathrm{relu}(a_r - s_f)^2)` with moving averages a of the logits.

    .. math:: a \leftarrow d\,a + (1 - d)\,\bar s

    after every discriminator step, with the mean logit over the batch of all processes. The averages are updated from the first step
    on, without inertia (d = 0) until ``start_images`` have been seen; the penalty starts with the next iteration (``begin``). The
    rectified form is that of the authors' code (google/lecam-gan), as in StudioGAN; there the averages include a step's own logits, here
    they are updated after the step, so that all micro-batches and processes use the same averages.

    Buffers ``real`` and ``fake`` hold a_r and a_f and are saved in checkpoints. ``strength`` (λ, 0 before the start) and ``inertia`` (d)
    are set by ``begin``; being tensors, they can change between repetitions of recorded operations.
    """

    real: Tensor
    fake: Tensor
    strength: Tensor
    inertia: Tensor

    def __init__(self, *, weight: float, decay: float, start_images: int) -> None:
        super().__init__()
        self.weight, self.decay, self.start_images = weight, decay, start_images
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))
        self.register_buffer("strength", torch.zeros(()), persistent=False)
        self.register_buffer("inertia", torch.zeros(()), persistent=False)
        self.begin(0)

    def begin(self, images_seen: int) -> None:
        """Set the values that depend on the images seen, for the steps of the next iteration."""
        started = images_seen >= self.start_images
        self.strength.fill_(self.weight if started else 0.0)
        self.inertia.fill_(self.decay if started else 0.0)

    def forward(self, real: Float[Tensor, " b"], fake: Float[Tensor, " b"]) -> Float[Tensor, ""]:
        """Return the penalty [] of logits [b] on real and generated images."""
        penalty: Tensor = F.relu(real - self.fake).square().mean() + F.relu(self.real - fake).square().mean()
        return self.strength * penalty

    @torch.no_grad()
    def follow(self, real: Float[Tensor, ""], fake: Float[Tensor, ""]) -> None:
        """Update the averages with the mean logits of a step."""
        self.real.lerp_(real.to(self.real.dtype), 1 - self.inertia)
        self.fake.lerp_(fake.to(self.fake.dtype), 1 - self.inertia)
