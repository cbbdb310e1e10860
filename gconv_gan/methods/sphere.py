"""Training of scale-invariant weights on a sphere, at a fixed effective learning rate.

Kodryan, Lobacheva, Nakhodnov, Vetrov, "Training Scale-Invariant Neural Networks on the Sphere Can Happen in Three Regimes", NeurIPS 2022,
arXiv 2209.03695; constants from tipt0p/three_regimes_on_the_sphere.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.methods.method import Losses, Method, Player, PlayerName, Progress
from gconv_gan.methods.scale_invariance import ScaleProbe


@dataclass(frozen=True)
class OnSphere:
    """Parameters and constants that a step of one player reads."""

    weights: list[Tensor]
    """Scale-invariant weights, kept on the sphere."""
    others: list[nn.Parameter]
    radius: float
    """ρ."""
    optimizer: torch.optim.Optimizer
    """Optimiser of the player; after a rebuild it is another object."""


class Sphere(Method):
    r"""Keep the scale-invariant weights θ of a network on the sphere of their first norm; the step has a fixed effective learning rate η.

    .. math::
        \theta \leftarrow \theta - \eta \rho^2\, \nabla_\theta L, \qquad \theta \leftarrow \rho\, \theta / \lVert\theta\rVert,
        \qquad \rho = \lVert\theta_0\rVert

    (arXiv 2209.03695). Since :math:`\langle\theta, \nabla_\theta L\rangle = 0`, a step turns θ by
    :math:`\arctan(\eta\,\rho\lVert\nabla L\rVert)`, and (ρ, η) and (cρ, η) give the same functions. η is multiplied by the schedule's
    factor; the learning rate of the optimiser is that of the other parameters. These, among them the head of a classifier, are frozen
    or trained by plain SGD on their own.

    Which weights are scale-invariant is measured before training, see ``ScaleProbe``. The optimiser is plain SGD: with momentum, adaptive
    steps, weight decay or clipping the effective learning rate would not be η. BatchNorm's ε breaks the invariance by a share of
    ε/σ². An average of the weights is not on the sphere; it computes the function of its direction.

    Args:
        players: The networks it acts on; none named: all of the run.
        effective_learning_rate: η, the constant learning rate divided by ρ².
        norm: What keeps its norm: all weights together (joint; the norms of single layers drift, and with them their effective learning
            rates), or every filter by itself (filter), each at sqrt(ρ²/F) for F filters.
        others: Parameters that are not scale-invariant: frozen, or trained at the optimiser's learning rate.
        head_norm: Norm that the frozen head of a classifier is given before training; 0: it keeps its own.
        weights: Names of the weights to keep on the sphere; none named: all that are scale-invariant.

    """

    plain_sgd: ClassVar[bool] = True
    """The configs of runs refuse any other optimiser."""

    def __init__(
        self,
        *,
        players: tuple[PlayerName, ...] = (),
        effective_learning_rate: PositiveFloat = 1e-3,
        norm: Literal["joint", "filter"] = "joint",
        others: Literal["frozen", "trained"] = "frozen",
        head_norm: NonNegativeFloat = 10.0,
        weights: tuple[str, ...] = (),
    ) -> None:
        self.players, self.rate, self.norm, self.others, self.head_norm = players, effective_learning_rate, norm, others, head_norm
        self.asked = weights
        self._names: dict[PlayerName, tuple[str, ...]] = {}
        self._radii = nn.Module()
        self._acting: dict[PlayerName, OnSphere] = {}

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Find the scale-invariant weights.

        Raises:
            UserError: a network is absent or has no scale-invariant weights, a named weight is none, or filters are not by themselves.

        """
        self.depends_on_structure_of = self.players or tuple(networks)
        for player in self.depends_on_structure_of:
            if player not in networks:
                raise UserError(f"sphere.players names the {player}, but this run has {' and '.join(networks)}")
            self._names[player] = self._found(player, networks[player])
            self._radii.register_buffer(player, torch.zeros((), dtype=torch.float64))

    def _found(self, player: PlayerName, network: nn.Module) -> tuple[str, ...]:
        probe = ScaleProbe(player, network)
        groups = probe.groups()
        if not groups:
            raise UserError(
                f"sphere needs weights whose scale does not matter, and the {player} has none: put norms behind its convolutions, give a "
                "discriminator spectral norm, or name in players the networks that have some"
            )
        names = tuple(name for group in groups for name in group)
        if self.asked:
            self._require_groups(network, groups)
            names = self.asked
        if self.norm == "filter" and not probe.filters_unchanged(names):
            raise UserError(
                f'sphere.norm = "filter" scales every filter by itself, which changes the output of the {player}: residual sums, norms '
                'over several channels and spectral norm tie filters together; use norm = "joint"'
            )
        return names

    def _require_groups(self, network: nn.Module, groups: Sequence[tuple[str, ...]]) -> None:
        known = [name for name, _ in network.named_parameters()]
        for name in self.asked:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise UserError(f"sphere.weights: there is no parameter {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
            group = next((group for group in groups if name in group), None)
            if group is None:
                raise UserError(f"sphere.weights: the output changes with the scale of {name}, which is therefore not scale-invariant")
            missing = [other for other in group if other not in self.asked]
            if missing:
                raise UserError(f"sphere.weights: {name} is scale-invariant only together with {', '.join(missing)}: name them too")

    def state(self) -> Mapping[str, nn.Module]:
        """Return ρ of each player, in float64."""
        return {"sphere": self._radii}

    @torch.no_grad()
    def start(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        """Give the head and the filters their norms, and measure ρ."""
        for name, weights in self._names.items():
            network = players[name].network
            if self.others == "frozen" and self.head_norm:
                _scale_head(network, weights, self.head_norm)
            parameters: list[Tensor] = [network.get_parameter(weight) for weight in weights]
            radius = math.sqrt(sum(float(parameter.double().square().sum()) for parameter in parameters))
            if self.norm == "filter":
                _to_filter_norm(parameters, _filter_norm(parameters, radius))
            self._radii.get_buffer(name).fill_(radius)

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Collect the parameters and ρ, once for each optimiser."""
        for name, weights in self._names.items():
            player = players[name]
            if name not in self._acting or self._acting[name].optimizer is not player.optimizer:
                parameters = dict(player.network.named_parameters())
                others = [parameter for other, parameter in parameters.items() if other not in weights]
                radius = float(self._radii.get_buffer(name))
                self._acting[name] = OnSphere([parameters[weight] for weight in weights], others, radius, player.optimizer)

    def learning_rate_factor(self, player: Player, progress: Progress) -> float:
        r"""Return the factor that makes the learning rate :math:`\eta \rho^2`."""
        acting = self._acting.get(player.name)
        return 1.0 if acting is None else self._step(acting) / player.learning_rate

    def _step(self, acting: OnSphere) -> float:
        return self.rate * acting.radius**2

    @torch.no_grad()
    def after_backward(self, player: Player) -> None:
        """Remove the gradients of the others, or scale them so that their step has the optimiser's learning rate."""
        acting = self._acting.get(player.name)
        if acting is None:
            return
        if self.others == "frozen":
            for parameter in acting.others:
                parameter.grad = None
        else:
            gradients = [parameter.grad for parameter in acting.others if parameter.grad is not None]
            if gradients:
                torch._foreach_mul_(gradients, player.learning_rate / self._step(acting))

    @torch.no_grad()
    def after_step(self, player: Player) -> None:
        """Project the weights back to the sphere."""
        acting = self._acting.get(player.name)
        if acting is None:
            return
        if self.norm == "filter":
            _to_filter_norm(acting.weights, _filter_norm(acting.weights, acting.radius))
        else:
            # in float64, since a float32 sum over millions of squares errs by more than the projection may
            norms = torch._foreach_norm(acting.weights, 2, dtype=torch.float64)
            factor = acting.radius / torch.linalg.vector_norm(torch.stack(norms))
            torch._foreach_mul_(acting.weights, factor.to(acting.weights[0]))


def _filter_norm(weights: Sequence[Tensor], radius: float) -> float:
    """Return the norm of each of F filters that together have the norm ``radius``."""
    return radius / math.sqrt(sum(len(weight) for weight in weights))


def _to_filter_norm(weights: list[Tensor], norm: float) -> None:
    """Scale every filter, an entry of the first axis, to ``norm``."""
    norms = [torch.linalg.vector_norm(weight.flatten(1), dim=1).view(-1, *[1] * (weight.ndim - 1)) for weight in weights]
    torch._foreach_reciprocal_(norms)
    torch._foreach_mul_(norms, norm)
    torch._foreach_mul_(weights, norms)


def _scale_head(network: nn.Module, weights: Sequence[str], norm: float) -> None:
    """Scale the head of a classifier to ``norm``, unless it is on the sphere."""
    head = getattr(network, "head", None)
    if isinstance(head, nn.Linear) and all(head.weight is not network.get_parameter(name) for name in weights):
        head.weight.mul_(norm / torch.linalg.vector_norm(head.weight))
