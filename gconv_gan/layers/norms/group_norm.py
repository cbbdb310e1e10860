"""Group normalisation for any channel count, and GN+, which adds batch statistics to it.

Wu and He, "Group Normalization", ECCV 2018, arXiv 1803.08494. Gunawan, Yin, Zhang, "Understanding and Improving Group Normalization",
arXiv 2207.01972 (2022); checked against agusgun/CS-570-Project, taken to be its authors' code ("GN first", the later "NewGN").
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.config.schema import Fixed
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.layers.roles import NORM_ROLES, Role
from gconv_gan.layers.slicing import Axis, Slice, Sliceable, Tie, blocks, resized, slices

BatchPart = Literal["batch", "batch_position"]


def group_count(channels: int, num_groups: int = 32) -> int:
    """Return ``num_groups`` if it divides the channels, else the largest smaller divisor with at least two channels per group."""
    if channels % num_groups == 0:
        return num_groups
    return max(count for count in range(1, max(min(num_groups, channels // 2), 1) + 1) if channels % count == 0)


class GroupNorm(nn.GroupNorm):
    """Group normalisation; of one group it is layer normalisation.

    Args:
        num_features: C.
        num_groups: Number of groups (G); lowered to a divisor of the channels, as :func:`group_count` does.
        eps: added to the variance.
        affine: learn scale and shift per channel.

    """

    def __init__(
        self, num_features: int, *, num_groups: PositiveInt = 32, eps: Annotated[float, Fixed] = 1e-5, affine: Annotated[bool, Fixed] = True
    ) -> None:
        super().__init__(group_count(num_features, num_groups), num_features, eps=eps, affine=affine)


class GroupNormPlus(Sliceable, nn.Module):
    r"""GN+: a learned mixture of group normalisation and batch normalisation of its result.

    .. math:: y = \gamma \odot \big( \sigma(\lambda)\, u + (1 - \sigma(\lambda))\, \mathrm{BN}(u) \big) + \beta, \qquad u = \mathrm{GN}(x)

    with one scalar :math:`\lambda` (``mix``), initially 1: :math:`\sigma = 0.731`. Input and result [B, C, H, W].

    - ``statistics="batch"``: GN is ``F.group_norm`` and BN a ``BatchNorm2d`` (``batch_norm``) of u: variance over batch and positions of
      all processes in training, running averages in evaluation, so that an image does not depend on the others of its batch.
    - ``statistics="batch_position"``, the released code: BN normalises every channel *and position* over the batch alone, in
      evaluation as in training; deviations are unbiased and eps is added to them, in both parts. It needs two images or more, and
      of two images the result is +-0.707. The statistics are those of one process.

    It couples the images of a batch: use it in generators and classifiers, not in discriminators.

    Args:
        num_features: C.
        num_groups: Number of groups (G); lowered to a divisor of the channels, as :func:`group_count` does.
        statistics: Batch part over batch and positions, with running averages; or over the batch at each position, as the released code.
        eps: added to variances or deviations.
        momentum: of the running averages.
        affine: learn scale (initially 1) and shift (0) per channel.

    Raises:
        ValueError: for unknown ``statistics``; in ``forward`` for a single image, or groups of a single value, with "batch_position",
            and for a single value per channel in training.

    """

    couples_batch: ClassVar[bool] = True
    roles: ClassVar[Mapping[str, Role]] = NORM_ROLES
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        num_features: int,
        *,
        num_groups: PositiveInt = 32,
        statistics: BatchPart = "batch",
        eps: Annotated[float, Fixed] = 1e-5,
        momentum: Annotated[float, Fixed] = 0.1,
        affine: Annotated[bool, Fixed] = True,
    ) -> None:
        super().__init__()
        check_choice("statistics", statistics, BatchPart)
        self.num_features, self.num_groups, self.eps = num_features, group_count(num_features, num_groups), eps
        self.batch_norm = BatchNorm2d(num_features, eps=eps, momentum=momentum, affine=False) if statistics == "batch" else None
        self.mix = nn.Parameter(torch.ones(()))
        self.register_parameter("weight", nn.Parameter(torch.ones(num_features)) if affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(num_features)) if affine else None)

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``."""
        return {"outputs": self.num_features}

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        if self.weight is not None:
            yield Slice(self, "weight")
            yield Slice(self, "bias")
        if self.batch_norm is not None:
            yield from slices(self.batch_norm, axis)

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        self.num_groups = self.num_groups * count // self.num_features
        self.num_features = count
        if self.batch_norm is not None:
            resized(self.batch_norm, axis, count)

    def ties(self) -> Iterable[Tie]:
        """See ``Sliceable``."""
        return blocks("outputs", self.num_features, self.num_groups)

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        return nn.BatchNorm2d(self.num_features)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.batch_norm is None:
            u, w = self._by_position(x)
        else:
            u = F.group_norm(x, self.num_groups, eps=self.eps)
            w = self.batch_norm(u)
        share = self.mix.sigmoid()
        if self.weight is None or self.bias is None:
            return torch.lerp(w, u, share.to(u.dtype)).to(x.dtype)
        group_scale, batch_scale = (part[:, None, None].to(u.dtype) for part in (share * self.weight, (1 - share) * self.weight))
        return torch.addcmul(torch.addcmul(self.bias[:, None, None].to(u.dtype), w, batch_scale), u, group_scale).to(x.dtype)

    def _by_position(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return GN(x) and BN(GN(x)) of the released code."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        grouped = wide.reshape(x.shape[0], self.num_groups, -1)
        if x.shape[0] < 2 or grouped.shape[2] < 2:
            raise ValueError(
                "statistics='batch_position' needs deviations over the batch and over each group: a batch of two images or more and groups"
                f" of two values or more, not input {tuple(x.shape)} in {self.num_groups} groups"
            )
        u = ((grouped - grouped.mean(2, keepdim=True)) / (grouped.std(2, keepdim=True) + self.eps)).view_as(x)
        return u, (u - u.mean(0)) / (u.std(0) + self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, num_groups={self.num_groups}, affine={self.weight is not None}"
