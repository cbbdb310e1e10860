"""Learning rate and momentum from the curvature of the loss, measured anew as training goes on."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float64, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.methods.method import Losses, Method, Player, PlayerName, Progress
from gconv_gan.optim.batch_spectrum import cauchy_step
from gconv_gan.optim.lanczos import flat_gradient, hessian_product, lanczos
from gconv_gan.runtime.processes import of_first_process
from gconv_gan.runtime.random import Stream

Rule = Literal["polyak", "nesterov", "nesterov_printed", "ssgd", "cauchy"]

NAMES: tuple[PlayerName, ...] = get_args(PlayerName)
MOST_MOMENTUM = 0.99
SPIKE = 0.5
"""A Ritz value with more than this share of the spectrum is taken for the rank deficiency's."""
STREAM = Stream(0, "curvature")


class Rates(NamedTuple):
    """Learning rate and momentum from a measurement."""

    learning_rate: float
    momentum: float


class Measured(NamedTuple):
    """Result of a measurement on one batch."""

    magnitudes: Float64[np.ndarray, " k"]
    """Absolute values of the Ritz values."""
    weights: Float64[np.ndarray, " k"]
    cauchy: float
    """The Cauchy step."""


class CurvatureRates(Method):
    r"""Set learning rate and momentum from the extreme eigenvalues of the training loss's Hessian.

    Granziol, Zohren, Roberts, JMLR 23(173), 2022 (arXiv 2006.09092), section 10.2: m steps of Lanczos's iteration on the Hessian of
    training batches, without weight decay and penalties, give Ritz values θ with weights ω. While one of them has a weight above ½ it is
    dropped, as that of the many directions without curvature, and the weights of the others are scaled to the sum 1; the largest is never
    dropped. With L = max |θ| of all and μ = min |θ| of those that remain:

    .. math::
        \text{polyak:}\quad \alpha = \Bigl(\tfrac{2}{\sqrt L + \sqrt\mu}\Bigr)^2, \quad
        \rho = \Bigl(\tfrac{\sqrt L - \sqrt\mu}{\sqrt L + \sqrt\mu}\Bigr)^2 \qquad
        \text{nesterov:}\quad \alpha = \tfrac1L, \quad \rho = \tfrac{\sqrt L - \sqrt\mu}{\sqrt L + \sqrt\mu}

    The paper prints Polyak's α without the square, which diverges. ρ is at most 0.99, and α at most where the iteration is stable on
    eigenvalues up to L: 2 (1 + ρ) / L, with Nesterov's momentum 2 (1 + ρ) / ((1 + 2ρ) L).

    α replaces the optimiser's learning rate, which the run's schedule and the groups' own factors multiply as before. Measured in the mode
    in which the networks train (BatchNorm couples the images of a batch), in float32, on the first batches of the run, always the same.
    In a GAN each player's own loss is measured with the other one held fixed; the game has further directions, so that its α is an upper
    bound. A batch without curvature, or with values that are not finite, leaves the rates as they were.

    Cost of a measurement: (``steps`` + 1) × ``batches`` products, each a backward pass through the graph of a backward pass, and memory for
    ``steps`` copies of the parameters.

    Args:
        players: Networks whose optimisers are set; none named: all of the run.
        rule: Formula: polyak; nesterov, with Nesterov's momentum; nesterov_printed, the same with the paper's α = √(μ/L); ssgd, the paper's
            2 / (L + median |θ|) without momentum; cauchy, gᵀg / gᵀHg along the batch's gradient without momentum.
        every: Images between measurements; the first is before training.
        steps: Steps of Lanczos's iteration (m).
        batches: Training batches that are measured one by one; L, μ, the median and the Cauchy step are means over them.
        renormalise: Whether the weights are scaled to the sum 1 after a Ritz value was dropped, so that further ones can be dropped.

    """

    sets_momentum: ClassVar[bool] = True
    """The configs of runs refuse an optimiser without one."""

    def __init__(
        self,
        *,
        players: tuple[PlayerName, ...] = (),
        rule: Rule = "polyak",
        every: PositiveInt = 100_000,
        steps: PositiveInt = 20,
        batches: PositiveInt = 4,
        renormalise: bool = True,
    ) -> None:
        self.players, self.rule, self.every, self.steps, self.batches, self.renormalise = players, rule, every, steps, batches, renormalise
        self._memory = Memory()
        self._rates: dict[PlayerName, Rates] | None = None
        """As in the memory; None: not read from there yet."""

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Raise ``UserError`` for a player that the run lacks."""
        absent = [name for name in self.players if name not in networks]
        if absent:
            raise UserError(f"curvature.players: the run has no {absent[0]}, but {' and '.join(networks)}")

    def start(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        """Measure at the initial weights."""
        self._measure(players, losses)

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Set the momentum, a number that the optimiser reads on the host."""
        for name, rates in self.rates.items():
            for group in players[name].optimizer.param_groups:
                group["momentum"], group["nesterov"] = rates.momentum, _nesterov(self.rule) and rates.momentum > 0

    def between(self, players: Mapping[PlayerName, Player], progress: Progress, losses: Losses) -> bool:
        """Measure where a multiple of ``every`` was passed; return whether the momentum changed."""
        before, last = dict(self.rates), int(self._memory.measured_at)
        if progress.images_seen // self.every == last // self.every:
            return False
        self._memory.measured_at.fill_(progress.images_seen)
        self._measure(players, losses)
        return any(name not in before or before[name].momentum != rates.momentum for name, rates in self.rates.items())

    def learning_rate_factor(self, player: Player, progress: Progress) -> float:
        """Return the measured learning rate over the configured one."""
        rates = self.rates.get(player.name)
        return 1.0 if rates is None else rates.learning_rate / player.learning_rate

    def state(self) -> Mapping[str, nn.Module]:
        """Return the rates, and when they were measured."""
        return {"curvature": self._memory}

    def status(self) -> Mapping[str, float]:
        """Return the rates in force, before the schedule."""
        return {f"{name}_{key}": value for name, rates in self.rates.items() for key, value in rates._asdict().items()}

    @property
    def rates(self) -> dict[PlayerName, Rates]:
        """Return the rates in force, by player."""
        if self._rates is None:
            rows = zip(NAMES, self._memory.rates.tolist(), strict=True)
            self._rates = {name: Rates(*row) for name, row in rows if row[0] > 0}
        return self._rates

    def _measure(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        for name in self.players or tuple(players):
            parameters = [parameter for _, parameter in players[name].parameters]
            try:
                found = [measured(losses(name, (2 * i, 2 * i + 1)), parameters, steps=self.steps, number=i) for i in range(self.batches)]
            except ArithmeticError:
                continue  # the guard stops a run that is not finite
            rates = of_first_process(rates_of(found, self.rule, renormalise=self.renormalise))
            if rates is not None:
                self.rates[name] = rates
                self._memory.rates[NAMES.index(name)] = torch.tensor(rates, dtype=torch.float64)


class Memory(nn.Module):
    """Buffers of the method in checkpoints."""

    measured_at: Int[Tensor, ""]
    """Images seen at the last measurement."""
    rates: Float64[Tensor, "players 2"]
    """Learning rate and momentum of each player; 0: never measured."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("measured_at", torch.tensor(0))
        self.register_buffer("rates", torch.zeros(len(NAMES), 2, dtype=torch.float64))


def measured(loss: Tensor, parameters: Sequence[Tensor], *, steps: int, number: int) -> Measured:
    """Return the Ritz values of the Hessian of ``loss`` from the random start vector ``number``, and the Cauchy step.

    Raises:
        ArithmeticError: values are not finite.

    """
    product, gradient = hessian_product(loss, parameters), flat_gradient(loss, parameters)
    start = STREAM.normal(number, torch.zeros(1, dtype=torch.int64, device=gradient.device), len(gradient))[0]
    ritz = lanczos(product, start.to(gradient.dtype), steps)
    return Measured(np.abs(ritz.values), ritz.weights, cauchy_step(gradient, product(gradient)))


def extremes(found: Measured, *, renormalise: bool) -> tuple[float, float]:
    """Return L and μ by the rank-degeneracy heuristic: spikes of the spectrum are dropped before the smallest magnitude is taken."""
    order = np.argsort(found.magnitudes)
    magnitudes, weights = found.magnitudes[order], found.weights[order].copy()
    while len(magnitudes) > 1 and weights[:-1].max() > SPIKE:
        spike = int(weights[:-1].argmax())
        magnitudes, weights = np.delete(magnitudes, spike), np.delete(weights, spike)
        if renormalise:
            weights /= weights.sum()
    return float(magnitudes[-1]), float(magnitudes[0])


def rates_of(found: Sequence[Measured], rule: Rule, *, renormalise: bool = True) -> Rates | None:
    """Return the rates of a rule from measurements on batches, within their bounds; None: there is no curvature."""
    pairs = [extremes(one, renormalise=renormalise) for one in found]
    largest, smallest = (float(np.mean(values)) for values in zip(*pairs, strict=True))
    if largest == 0:
        return None
    median = float(np.mean([np.median(one.magnitudes) for one in found]))
    cauchy = float(np.mean([one.cauchy for one in found]))
    return bounded(unbounded(rule, largest, smallest, median=median, cauchy=cauchy), largest, nesterov=_nesterov(rule))


def unbounded(rule: Rule, largest: float, smallest: float, *, median: float, cauchy: float) -> Rates:
    """Return the rates by the formula of a rule."""
    high, low = math.sqrt(largest), math.sqrt(smallest)
    ratio = (high - low) / (high + low)
    match rule:
        case "polyak":
            return Rates((2 / (high + low)) ** 2, ratio**2)
        case "nesterov":
            return Rates(1 / largest, ratio)
        case "nesterov_printed":
            return Rates(low / high, ratio)
        case "ssgd":
            return Rates(2 / (largest + median), 0.0)
        case "cauchy":
            return Rates(cauchy, 0.0)


def bounded(rates: Rates, largest: float, *, nesterov: bool) -> Rates:
    """Return the rates with momentum at most 0.99, and the learning rate at most where eigenvalues up to ``largest`` are stable."""
    momentum = min(rates.momentum, MOST_MOMENTUM)
    limit = 2 * (1 + momentum) / largest / (1 + 2 * momentum if nesterov else 1)
    return Rates(min(rates.learning_rate, limit), momentum)


def _nesterov(rule: Rule) -> bool:
    return rule in ("nesterov", "nesterov_printed")
