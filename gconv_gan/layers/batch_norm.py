"""Batch normalisation over the global batch, on any back end, and its class-conditional form.

Ioffe and Szegedy, "Batch Normalization", arXiv 1502.03167 (2015); conditional form: Dumoulin, Shlens, Kudlur, arXiv 1610.07629
(2016), with the table of mimicry's ``modules/layers.py``. torch's ``SyncBatchNorm`` runs on GPUs only; here two CPU processes
must train as one does.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.conditioning import Condition, Conditioned


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes; its own adjoint, so it may be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _SumOverProcesses.apply(gradient)


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class BatchNorm2d(nn.BatchNorm2d):
    r"""``nn.BatchNorm2d`` whose training statistics are those of the batch of all processes.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    with :math:`\mu, \sigma^2` over batch, rows, columns *and processes* in training, and the running ones in evaluation. With
    one process, or ``over_processes`` false, it is ``nn.BatchNorm2d``. Input and result [B, C, H, W]; same state dict.

    Attributes:
        over_processes: share statistics between processes (default true).

    """

    over_processes: bool = True

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if not (self.training and self.over_processes and _several_processes()):
            return super().forward(x)
        total = _SumOverProcesses.apply
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        # two passes: the mean first, then centred squares, which do not cancel
        count = total(wide.new_tensor([wide.numel() / wide.shape[1]]))
        mean = total(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = total(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach() * (count / (count - 1)))
        result = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            result = result * self.weight[:, None, None] + self.bias[:, None, None]
        narrow: Tensor = result.to(x.dtype)
        return narrow

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), factor)


class ConditionalBatchNorm2d(Conditioned):
    r"""Batch normalisation with one scale and shift per class.

    .. math:: y_b = \gamma_{c(b)} \odot \mathrm{BN}(x_b) + \beta_{c(b)}

    One embedding [num_classes, 2·C] holds the scales (first half, initially N(1, 0.02²)) and the shifts (second half, 0).
    Input and result [B, C, H, W].

    Raises:
        ValueError: in ``forward`` when the condition has no y; labels are never made up.

    """

    def __init__(self, num_features: int, num_classes: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.norm = BatchNorm2d(num_features, eps=eps, momentum=momentum, affine=False)
        self.embedding = nn.Embedding(num_classes, 2 * num_features)
        with torch.no_grad():
            self.embedding.weight[:, :num_features].normal_(1.0, 0.02)
            self.embedding.weight[:, num_features:].zero_()

    def forward(self, x: Float[Tensor, "b c h w"], condition: Condition) -> Float[Tensor, "b c h w"]:
        scale, shift = self.embedding(condition.require_y("ConditionalBatchNorm2d"))[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, scale, self.norm(x))
