"""Norms, effective learning rates, angular updates and effective gradients of scale-invariant weights, measured during training."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.methods.method import Method, Player, PlayerName, Progress
from gconv_gan.methods.scale_invariance import Group, ScaleProbe

SUFFIX: dict[PlayerName, str] = {"generator": "_g", "discriminator": "_d", "classifier": ""}
JOINT = "all"
"""Stands for all scale-invariant weights together where the others have the name of a layer."""


@dataclass(frozen=True)
class Measured:
    """Tensors that a step of one player reads and writes."""

    weights: list[Tensor]
    before: list[Tensor]
    """Copies of the weights before the step."""
    membership: Tensor
    """[L + 1, weights] of 0 and 1: the weights of each layer, and in the last row all of them."""
    optimizer: torch.optim.Optimizer
    """Optimiser of the player; after a rebuild it is another object."""


class EffectiveLearningRates(Method):
    r"""Measure the scale-invariant weights of the networks: where a norm follows a weight w, the norm of w sets the size of a step.

    Per layer (a weight, or those that are scale-invariant only together) and for all together:

    .. math::
        \lVert w\rVert, \qquad \eta = \mathrm{lr} / \lVert w\rVert^2, \qquad \alpha = \angle(w_t, w_{t+1}), \qquad
        \lVert\hat g\rVert = \lVert w\rVert\,\lVert\nabla_w L\rVert

    Norm and effective learning rate η are those at the status line, the angular update α (radians) and the effective gradient norm are
    means over the steps since the last one. For SGD without momentum α = arctan(η ‖ĝ‖); for Adam η is no angle, but α still tells how
    fast the layer turns. See arXiv 2209.03695 and Li and Arora, arXiv 1910.07454. The status line has the median, the smallest and the
    largest η, and the median of α; ``metrics.jsonl`` has every layer as ``effective_learning_rate/PLAYER/LAYER``, likewise
    ``weight_norm``, ``angular_update`` and ``effective_gradient_norm``. Training is not changed.

    Args:
        players: The networks that are measured; none named: all that have scale-invariant weights.

    """

    def __init__(self, *, players: tuple[PlayerName, ...] = ()) -> None:
        self.players = players
        self._groups: dict[PlayerName, list[Group]] = {}
        self._sums = nn.Module()
        self._measured: dict[PlayerName, Measured] = {}

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Find the scale-invariant weights.

        Raises:
            UserError: a named network is absent or has none, or no network has any.

        """
        for player in self.players:
            if player not in networks:
                raise UserError(f"effective_learning_rates.players names the {player}, but this run has {' and '.join(networks)}")
        found = {player: ScaleProbe(player, networks[player]).groups() for player in self.players or networks}
        for player in self.players:
            if not found[player]:
                raise UserError(f"effective_learning_rates.players names the {player}, which has no weights whose scale does not matter")
        self._groups = {player: groups for player, groups in found.items() if groups}
        self.depends_on_structure_of = tuple(self._groups)
        if not self._groups:
            raise UserError("effective_learning_rates measures weights whose scale does not matter, and no network of this run has any")
        for player, groups in self._groups.items():
            for name in ("angles", "gradients"):
                self._sums.register_buffer(f"{player}_{name}", torch.zeros(len(groups) + 1, dtype=torch.float64))
            self._sums.register_buffer(f"{player}_steps", torch.zeros((), dtype=torch.float64))

    def state(self) -> Mapping[str, nn.Module]:
        """Return the sums since the last status line."""
        return {"effective_learning_rates": self._sums}

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Collect the weights, once for each optimiser."""
        for name, groups in self._groups.items():
            player = players[name]
            if name in self._measured and self._measured[name].optimizer is player.optimizer:
                continue
            weights: list[Tensor] = [player.network.get_parameter(weight) for group in groups for weight in group]
            membership = torch.zeros(len(groups) + 1, len(weights), dtype=torch.float64)
            membership[-1] = 1
            column = 0
            for row, group in enumerate(groups):
                membership[row, column : column + len(group)] = 1
                column += len(group)
            before = [torch.empty_like(weight, requires_grad=False) for weight in weights]
            self._measured[name] = Measured(weights, before, membership.to(weights[0].device), player.optimizer)

    @torch.no_grad()
    def after_backward(self, player: Player) -> None:
        """Keep the weights, and add the norms of their effective gradients."""
        measured = self._measured.get(player.name)
        if measured is None:
            return
        torch._foreach_copy_(measured.before, measured.weights)
        gradients = [weight.grad for weight in measured.weights if weight.grad is not None]
        norm, gradient = _norms(measured, measured.weights), _norms(measured, gradients)
        self._sums.get_buffer(f"{player.name}_gradients").add_(norm * gradient)

    @torch.no_grad()
    def after_step(self, player: Player) -> None:
        r"""Add the angles by which the layers turned.

        The chord between the directions of a and b has the square
        :math:`(\lVert b - a\rVert^2 - (\lVert b\rVert - \lVert a\rVert)^2) / (\lVert a\rVert \lVert b\rVert)`: exact for small angles too.
        """
        measured = self._measured.get(player.name)
        if measured is None:
            return
        before, after = _norms(measured, measured.before), _norms(measured, measured.weights)
        torch._foreach_sub_(measured.before, measured.weights)
        moved = _norms(measured, measured.before)
        chord = ((moved.square() - (after - before).square()).clamp(min=0) / (before * after)).sqrt()
        self._sums.get_buffer(f"{player.name}_angles").add_(2 * torch.asin(chord.clamp(max=2) / 2))
        self._sums.get_buffer(f"{player.name}_steps").add_(1)

    def status(self) -> Mapping[str, float]:
        """Return the numbers of every layer, all layers together, and the median, least and largest; start the means anew."""
        found: dict[str, float] = {}
        for player, measured in self._measured.items():
            steps, angles, gradients = (self._sums.get_buffer(f"{player}_{name}") for name in ("steps", "angles", "gradients"))
            taken = float(steps)
            if not taken:
                continue
            norms = _norms(measured, measured.weights).tolist()
            rates = _learning_rates(measured)
            labels = [*(layer_name(group) for group in self._groups[player]), JOINT]
            rows = zip(labels, norms, rates, (angles / taken).tolist(), (gradients / taken).tolist(), strict=True)
            for layer, norm, rate, angle, gradient in rows:
                found |= {
                    f"weight_norm/{player}/{layer}": norm,
                    f"effective_learning_rate/{player}/{layer}": rate / norm**2,
                    f"angular_update/{player}/{layer}": angle,
                    f"effective_gradient_norm/{player}/{layer}": gradient,
                }
            effective = [rate / norm**2 for rate, norm in zip(rates[:-1], norms[:-1], strict=True)]
            suffix = SUFFIX[player]
            found |= {
                f"effective_learning_rate{suffix}": statistics.median(effective),
                f"effective_learning_rate_min{suffix}": min(effective),
                f"effective_learning_rate_max{suffix}": max(effective),
                f"angular_update{suffix}": statistics.median((angles[:-1] / taken).tolist()),
            }
            for buffer in (steps, angles, gradients):
                buffer.zero_()
        return found


def layer_name(group: Group) -> str:
    """Return the name of a weight without ``.weight`` and the parts of its parametrisation; "+2" stands for two more weights."""
    first = group[0].replace("parametrizations.", "").removesuffix(".original").removesuffix(".weight")
    return first if len(group) == 1 else f"{first}+{len(group) - 1}"


def _norms(measured: Measured, tensors: list[Tensor]) -> Tensor:
    """Return the norm [L + 1] of each layer and of all, in float64, of ``tensors``, one for each weight."""
    squares = torch.stack(torch._foreach_norm(tensors, 2)).double().square()
    return (measured.membership @ squares).sqrt()


def _learning_rates(measured: Measured) -> list[float]:
    """Return the learning rate of each layer, that of its first weight, and of all, that of the first."""
    by_weight = {id(weight): float(group["lr"]) for group in measured.optimizer.param_groups for weight in group["params"]}
    rates = [by_weight[id(weight)] for weight in measured.weights]
    return [rates[int(place)] for place in measured.membership.argmax(1)]
