"""Batch normalisation whose scale and shift are functions of the latent vector.

Paper: Chen, Lucic, Houlsby, Gelly, "On Self Modulation for Generative Adversarial Networks", arXiv 1810.01365 (ICLR 2019), section 2.
Facts were checked against google/compare_gan's ``arch_ops.py``.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from gconv_gan.config.schema import Fixed
from gconv_gan.layers.conditioning import Condition
from gconv_gan.layers.norms.batch_norm import BatchNorm2d, ModulatedNorm2d
from gconv_gan.layers.roles import MODULATED_ROLES, Role


class SelfModulatedBatchNorm2d(ModulatedNorm2d):
    r"""BatchNorm whose scale and shift are functions of the latent vector and, in a conditional run, of the class.

    .. math::
        y_b = \gamma(z'_b) \odot \mathrm{BN}(x_b) + \beta(z'_b), \qquad
        \gamma(z') = V_\gamma \,\mathrm{ReLU}(U z' + u) + v_\gamma, \quad \beta(z') = V_\beta \,\mathrm{ReLU}(U z' + u) + v_\beta

    with :math:`z' = z` in an unconditional generator and :math:`z' = e_{c(b)} + e'_{c(b)} \odot z` in a class-conditional one, the
    two embeddings being of the latent's length. All matrices start from N(0, 0.02²) and all biases at 0 but :math:`v_\gamma = 1`;
    the embeddings start at e = 0 and e' = 1, so that the class has no initial influence. Input and result [B, C, H, W]; a latent
    vector [1, d] is shared by the batch.

    Args:
        num_features: C.
        latent_dim: length of z.
        num_classes: number of classes; None: the layer does not depend on y.
        hidden: Width of the hidden layer between latent vector and scale.

    Raises:
        ValueError: in ``forward`` for a condition without z or y, or with z of another length.

    """

    roles: ClassVar[Mapping[str, Role]] = MODULATED_ROLES
    scale: nn.Linear
    shift: nn.Linear

    def __init__(
        self,
        num_features: int,
        latent_dim: int,
        *,
        num_classes: int | None = None,
        hidden: PositiveInt = 32,
        eps: Annotated[float, Fixed] = 1e-5,
        momentum: Annotated[float, Fixed] = 0.1,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.norm = BatchNorm2d(num_features, eps=eps, momentum=momentum, affine=False)
        self.hidden = nn.Linear(latent_dim, hidden)
        self.scale = nn.Linear(hidden, num_features)
        self.shift = nn.Linear(hidden, num_features)
        for linear in (self.hidden, self.scale, self.shift):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        nn.init.ones_(self.scale.bias)
        self.class_shift = nn.Embedding(num_classes, latent_dim) if num_classes is not None else None
        self.class_scale = nn.Embedding(num_classes, latent_dim) if num_classes is not None else None
        if self.class_shift is not None and self.class_scale is not None:
            nn.init.zeros_(self.class_shift.weight)
            nn.init.ones_(self.class_scale.weight)

    def forward(self, x: Float[Tensor, "b c h w"], condition: Condition, *, slope: float = 1.0) -> Float[Tensor, "b c h w"]:
        z = condition.require_z("SelfModulatedBatchNorm2d", self.latent_dim)
        if self.class_shift is not None and self.class_scale is not None:
            y = condition.require_y("SelfModulatedBatchNorm2d")
            z = torch.addcmul(self.class_shift(y), self.class_scale(y), z)
        hidden = torch.relu(self.hidden(z))
        return self.modulated(x, self.scale(hidden).to(x.dtype), self.shift(hidden).to(x.dtype), slope)
