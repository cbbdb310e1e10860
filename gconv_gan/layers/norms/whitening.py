"""Whitening matrices of groups of channels: of the global batch in training, running averages in evaluation."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gconv_gan.config.hints import check_choice
from gconv_gan.layers.dynamic.grouped_products import second_moment
from gconv_gan.layers.norms.newton import NewtonScale, inverse_square_root, scaled_identity
from gconv_gan.layers.norms.running_statistics import RunningStatistics
from gconv_gan.runtime.precision import float32_arithmetic

Running = Literal["matrix", "covariance"]
FREEZE_PERIOD, FREEZE_UPDATES = 1000, 100


class Whitening(RunningStatistics):
    r"""The mean and, for each group of d channels, the whitening matrix of a map.

    .. math::
        \mu = \mathbb E[x], \qquad W_g \approx \Sigma_g^{-1/2}, \quad
        \Sigma_g = \mathbb E[(x_g - \mu_g)(x_g - \mu_g)^\top] + \varepsilon I

    over batch and positions *of all processes* in training, by :func:`gconv_gan.layers.norms.newton.inverse_square_root`. Buffers:
    ``running_mean`` [C], ``running_matrix`` [G, d, d] and ``num_batches_tracked``. All is computed in at least float32, autocast
    or not. It does not apply the matrices: ``forward`` maps x [B, C, H, W] to (mean [C], matrices [G, d, d]).

    Args:
        channels: C = G d.
        groups: G.
        iterations: of Newton's method.
        eps: added to the diagonal of the covariance.
        scale: of Newton's method, "trace" or "frobenius".
        momentum: of the running averages; None: the plain average over batches.
        running: "matrix" averages W, as the papers' codes do; "covariance" averages the covariance (biased, without eps), and every
            evaluation computes its inverse root: closer to the batch's own W if weights change fast.
        freeze: in training, use and update batch statistics in the first 100 of every 1000 forward passes alone, and the running
            ones in the others. A pass takes the same operations in both cases: the choice is by ``num_batches_tracked`` on its device.

    Raises:
        ValueError: if the groups do not divide the channels, for fewer than one iteration or an unknown ``running`` or ``scale``, or in
            training for a single value per channel.

    """

    running_mean: Tensor
    running_matrix: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        channels: int,
        groups: int,
        *,
        iterations: int = 5,
        eps: float = 1e-5,
        scale: NewtonScale = "trace",
        momentum: float | None = 0.1,
        running: Running = "matrix",
        freeze: bool = False,
    ) -> None:
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(f"{channels} channels do not divide into {groups} groups")
        if iterations < 1:
            raise ValueError(f"whitening needs at least one Newton iteration, not {iterations}")
        check_choice("running", running, Running)
        check_choice("scale", scale, NewtonScale)
        self.channels, self.groups, self.iterations, self.eps = channels, groups, iterations, eps
        self.scale, self.momentum, self.running, self.freeze = scale, momentum, running, freeze
        size = channels // groups
        self.register_buffer("running_mean", torch.zeros(channels))
        # a buffer expanded from one matrix would share its memory and could not be updated in place
        self.register_buffer("running_matrix", torch.eye(size).repeat(groups, 1, 1))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, " c"], Float[Tensor, "g d d"]]:
        """Return the mean [C] and the whitening matrices [G, d, d]."""
        with float32_arithmetic(x.device):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            if self.training:
                mean, matrix = self.batch_statistics(wide)
                if self.running == "matrix":
                    matrix = self._root(matrix)
                if self.freeze:
                    frozen = self.num_batches_tracked.remainder(FREEZE_PERIOD) >= FREEZE_UPDATES
                    mean = torch.where(frozen, self.running_mean.to(mean.dtype), mean)
                    matrix = torch.where(frozen, self.running_matrix.to(matrix.dtype), matrix)
                self.track(running_mean=mean, running_matrix=matrix)  # an average moved towards itself stays what it is, bit for bit
            else:
                mean, matrix = self.running_mean.to(wide.dtype), self.running_matrix.to(wide.dtype)
            return mean, matrix if self.running == "matrix" else self._root(matrix)

    def batch_statistics(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, " c"], Float[Tensor, "g d d"]]:
        """Return mean and biased covariance of a batch, without eps, in two passes, since one pass cancels for a large mean."""
        if x.numel() == x.shape[1] and not self.shares_statistics():
            raise ValueError(f"a batch with a single value per channel has no covariance to train with: got input {tuple(x.shape)}")
        mean, count = self.mean(x.sum((0, 2, 3)), x.numel() // x.shape[1])
        return mean, self.total(second_moment(x - mean[:, None, None], self.groups)) / count

    def _root(self, covariance: Tensor) -> Tensor:
        eps = scaled_identity(covariance.shape[-1], self.eps, covariance.dtype, covariance.device)
        return inverse_square_root(covariance + eps, iterations=self.iterations, scale=self.scale)

    def counts_immediately(self) -> bool:
        """Return whether the next pass reads the counter."""
        return self.freeze or super().counts_immediately()

    def reset_running_stats(self) -> None:
        """Reset the statistics: mean 0, the identity for every group."""
        self.running_mean.zero_()
        self.running_matrix.copy_(torch.eye(self.running_matrix.shape[-1]))
        self.num_batches_tracked.zero_()

    def extra_repr(self) -> str:
        text = f"{self.channels}, groups={self.groups}, iterations={self.iterations}, eps={self.eps}, momentum={self.momentum}"
        return f"{text}, running={self.running!r}, freeze={self.freeze}"
