"""Batch normalisation over the global batch, on any back end, and its forms conditioned on a vector or a class.

Ioffe and Szegedy, "Batch Normalization", arXiv 1502.03167 (2015); conditional form: Dumoulin, Shlens, Kudlur, arXiv 1610.07629
(2016); initial values are those of mimicry's ``modules/layers.py``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor, nn

from gconv_gan.config.ranges import Fraction
from gconv_gan.config.schema import Fixed
from gconv_gan.layers.conditioning import Condition, Conditioned
from gconv_gan.layers.norms.global_batch import batch_normalised, by_formulas, dense, has_fused_kernels, per_pixel
from gconv_gan.layers.norms.joined_batches import batch_count, batches_of
from gconv_gan.layers.norms.running_statistics import RunningStatistics
from gconv_gan.layers.roles import MODULATED_ROLES, Role
from gconv_gan.layers.slicing import Axis, Slice, Sliceable, Tie, resized, sizes, slices, stand_in, ties


class BatchNorm2d(nn.BatchNorm2d, RunningStatistics):
    r"""Batch normalisation over the batch of all processes.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    with :math:`\mu, \sigma^2` over batch, rows, columns *and processes* in training, and the running ones in evaluation. With
    one process, or ``over_processes`` false, it is ``nn.BatchNorm2d``. Input and result [B, C, H, W]; same state dict.

    Args:
        num_features: C.
        eps: Added to the variance (pfnet: 2e-5; StudioGAN: 1e-4).
        momentum: Weight of a batch in the running statistics.
        affine: learn γ and β per channel.
        initial_scale: γ before training, in every layer (0.1 goes with the optimiser's norm_scale_divisor = 100); 1: the network's own
            start.

    Attributes:
        over_processes: share statistics between processes (default true).
        fused: use the kernels of ``batch_kernels`` in training on CUDA, where Triton is installed (default false; not in the state dict).

    Raises:
        ValueError: in training, if a process has a single value per channel, whose variance is undefined.

    """

    couples_batch: ClassVar[bool] = True
    separates_batches: ClassVar[bool] = True
    fused: bool = False

    def __init__(
        self,
        num_features: int,
        *,
        eps: PositiveFloat = 1e-5,
        momentum: Fraction = 0.1,
        affine: Annotated[bool, Fixed] = True,
        initial_scale: PositiveFloat = 1.0,
    ) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum, affine=affine)
        if affine and initial_scale != 1:
            nn.init.constant_(self.weight, initial_scale)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        *,
        scale: Float[Tensor, "#b c"] | None = None,
        shift: Float[Tensor, "#b c"] | None = None,
        slope: float = 1.0,
    ) -> Float[Tensor, "b c h w"]:
        """Return max(y, slope · y), with ``scale`` and ``shift`` of every sample in place of γ and β if the layer has none."""
        if not (self.training and batch_count() > 1):
            return self._batch(x, scale, shift, slope)
        parts = zip(batches_of(x), *(_of_batches(vectors, x) for vectors in (scale, shift)), strict=True)
        if torch.is_grad_enabled() or not self._fuses(x):
            return torch.cat([self._batch(images, s, t, slope) for images, s, t in parts])
        y = dense(torch.empty_like(x), like=x)
        for (images, s, t), out in zip(parts, batches_of(y), strict=True):
            self._batch(images, s, t, slope, out)
        return y

    def _fuses(self, x: Tensor) -> bool:
        return self.fused and self.momentum is not None and self.num_batches_tracked is not None and has_fused_kernels(x)

    def _batch(self, x: Tensor, scale: Tensor | None, shift: Tensor | None, slope: float, out: Tensor | None = None) -> Tensor:
        """Return the result of the images of one batch; fused kernels write it into ``out``."""
        shared = self.shares_statistics()
        if self.training and not shared and x.numel() == x.shape[1]:
            raise ValueError(
                f"batch normalisation has a single value per channel in {list(x.shape)}: train with at least two images per batch"
            )
        tracked = self.momentum is not None and self.num_batches_tracked is not None
        if not shared and not (self.training and tracked):
            return modulated(super().forward(x), scale, shift, slope)
        fused = self._fuses(x)
        if fused or ((shared or scale is not None) and by_formulas(x)):
            return self._normalised(x, scale, shift, slope, shared=shared, fused=fused, out=out)
        if shared:
            return modulated(self._normalised(x, None, None, 1.0, shared=True, fused=False), scale, shift, slope)
        self.count_batch()
        assert self.momentum is not None
        y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps)
        return modulated(y, scale, shift, slope)

    def _normalised(
        self,
        x: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        slope: float,
        *,
        shared: bool,
        fused: bool,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return the result by one operation, and track the statistics."""
        if scale is None or shift is None:
            scale, shift = self.weight, self.bias
        else:  # one vector may hold for all samples
            scale, shift = scale.expand(len(x), -1), shift.expand(len(x), -1)
        running = None
        if fused and not shared and self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            running = (self.running_mean, self.running_var, self.momentum)
        y, batch = batch_normalised(x, scale, shift, eps=self.eps, slope=slope, shared=shared, fused=fused, running=running, out=out)
        if running is None:
            self.track(running_mean=batch.mean, running_var=batch.variance * (batch.values / (batch.values - 1)))
        else:
            self.count_batch()
        return y


def _of_batches(vectors: Tensor | None, x: Tensor) -> Sequence[Tensor | None]:
    """Return the vectors of each batch of a joined pass: its own, or those that hold for all."""
    return [vectors] * batch_count() if vectors is None or len(vectors) != len(x) else batches_of(vectors)


def modulated(
    x: Float[Tensor, "b c h w"], scale: Float[Tensor, "#b c"] | None, shift: Float[Tensor, "#b c"] | None, slope: float
) -> Float[Tensor, "b c h w"]:
    """Return max(v, slope · v) of v = scale · x + shift, or of x without scale and shift."""
    if scale is not None and shift is not None:
        x = torch.addcmul(per_pixel(shift), per_pixel(scale), x)
    return x if slope == 1 else F.relu(x) if slope == 0 else F.leaky_relu(x, slope)


class ModulatedNorm2d(Sliceable, Conditioned):
    """Base of a ``norm`` without scale and shift, followed by those that ``scale`` and ``shift`` compute from the condition."""

    norm: nn.Module
    scale: nn.Linear | nn.Embedding
    shift: nn.Linear | nn.Embedding

    def modulated(self, x: Tensor, scale: Float[Tensor, "#b c"], shift: Float[Tensor, "#b c"], slope: float) -> Tensor:
        """Return max(v, slope · v) of v = scale · norm(x) + shift."""
        if isinstance(self.norm, BatchNorm2d):
            result: Tensor = self.norm(x, scale=scale, shift=shift, slope=slope)
            return result
        return modulated(self.norm(x), scale, shift, slope)

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``."""
        return sizes(self.norm)

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        yield from slices(self.norm, axis)
        for table in (self.scale, self.shift):
            if isinstance(table, nn.Embedding):
                yield Slice(table, "weight", 1)
            else:
                yield from slices(table, "outputs")

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        resized(self.norm, axis, count)
        for table in (self.scale, self.shift):
            setattr(table, "embedding_dim" if isinstance(table, nn.Embedding) else "out_features", count)

    def ties(self) -> Iterable[Tie]:
        """See ``Sliceable``."""
        return ties(self.norm)

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        found = stand_in(self.norm)
        assert found is not None
        return found


class LatentNorm2d(ModulatedNorm2d):
    r"""A norm without scale and shift, followed by a scale and a shift that are linear in the condition's vector, as in BigGAN's blocks.

    .. math:: y_b = m (1 + A z_b) \odot \mathrm{N}(x)_b + B z_b, \qquad m = 1

    (Brock, Donahue, Simonyan, arXiv 1809.11096 (2018), appendix B; ``ccbn`` in BigGAN-PyTorch), where z is the vector that the
    network passes to the block: a chunk of the latent vector, a class embedding, or both. A and B have no bias and start as N(0, 0.02²).
    Input and result [B, C, H, W], condition.z [B, d].

    Args:
        norm: N, a map [B, C, H, W] -> [B, C, H, W].
        num_features: C.
        latent_dim: d.

    Attributes:
        mean_scale: m, a constant of the construction and not of the state dict, see ``initialise_batch_norms``.

    Raises:
        ValueError: in ``forward`` when the condition has no z.

    """

    roles: ClassVar[Mapping[str, Role]] = MODULATED_ROLES
    mean_scale: float = 1.0
    scale: nn.Linear
    shift: nn.Linear

    def __init__(self, norm: nn.Module, num_features: int, latent_dim: int) -> None:
        super().__init__()
        self.norm = norm
        self.scale = nn.Linear(latent_dim, num_features, bias=False)
        self.shift = nn.Linear(latent_dim, num_features, bias=False)
        nn.init.normal_(self.scale.weight, std=0.02)
        nn.init.normal_(self.shift.weight, std=0.02)

    def forward(self, x: Float[Tensor, "b c h w"], condition: Condition, *, slope: float = 1.0) -> Float[Tensor, "b c h w"]:
        z = condition.require_z(type(self).__name__)
        shift, scale = self.shift(z), self.mean_scale * (1 + self.scale(z))
        return self.modulated(x, scale, shift, slope)


class LatentBatchNorm2d(LatentNorm2d):
    """Batch normalisation whose scale and shift are linear in the condition's vector, see :class:`LatentNorm2d`."""

    def __init__(self, num_features: int, latent_dim: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(BatchNorm2d(num_features, eps=eps, momentum=momentum, affine=False), num_features, latent_dim)


class ClassConditionalNorm2d(ModulatedNorm2d):
    r"""A norm without scale and shift, followed by one scale and shift per class.

    .. math:: y_b = \gamma_{c(b)} \odot \mathrm{N}(x)_b + \beta_{c(b)}

    Two embeddings [num_classes, C]: ``scale``, initially N(1, 0.02²), and ``shift``, initially 0; they are separate parameters so
    that an optimiser may treat them differently. Input and result [B, C, H, W].

    Args:
        norm: N, a map [B, C, H, W] -> [B, C, H, W]; whitening with class-conditional scales is the analogue of a conditional BatchNorm.
        num_features: C.
        num_classes: number of classes.

    Raises:
        ValueError: in ``forward`` when the condition has no y.

    """

    roles: ClassVar[Mapping[str, Role]] = MODULATED_ROLES
    scale: nn.Embedding
    shift: nn.Embedding

    def __init__(self, norm: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.norm = norm
        self.scale = nn.Embedding(num_classes, num_features)
        self.shift = nn.Embedding(num_classes, num_features)
        nn.init.normal_(self.scale.weight, 1.0, 0.02)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Float[Tensor, "b c h w"], condition: Condition, *, slope: float = 1.0) -> Float[Tensor, "b c h w"]:
        y = condition.require_y(type(self).__name__)
        return self.modulated(x, self.scale(y), self.shift(y), slope)


class ConditionalBatchNorm2d(ClassConditionalNorm2d):
    """Batch normalisation with one scale and shift per class, see :class:`ClassConditionalNorm2d`."""

    def __init__(self, num_features: int, num_classes: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(BatchNorm2d(num_features, eps=eps, momentum=momentum, affine=False), num_features, num_classes)


def fuse_batch_norms(network: nn.Module, fused: bool = True) -> int:
    """Let the batch normalisations of a network use ``batch_kernels``, or not; return how many there are."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm2d)]
    for norm in norms:
        norm.fused = fused
    return len(norms)


def folded_scale(norm: nn.Module) -> Float[Tensor, " c"] | None:
    r"""Return the factor :math:`\gamma / \sqrt{r + \varepsilon}` on each channel in evaluation, with the running variance r.

    Of scales per class it is the mean over classes. None: the layer is no such norm, or its scale is a function of the latent vector.
    """
    if isinstance(norm, ClassConditionalNorm2d):
        inner = folded_scale(norm.norm)
        return None if inner is None else inner * norm.scale.weight.detach().mean(0)
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_var is None:
        return None
    factor = (norm.running_var + norm.eps).rsqrt()
    return factor if norm.weight is None else factor * norm.weight.detach()
