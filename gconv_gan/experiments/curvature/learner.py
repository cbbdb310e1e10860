"""Learning rates from the curvature on a quadratic and on logistic regression, against the best of a grid of constant rates."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from gconv_gan.config.base import Config
from gconv_gan.methods.curvature import CurvatureRates, Rule
from gconv_gan.methods.method import Player, PlayerName, Progress

SIDE = 50
DAMPING = 0.01
ROWS, COLUMNS = 200, 20
GAP = 1e-6
MOST = 5000
RATES, MOMENTA = 20, 10
Problem = Literal["quadratic", "logistic"]


class Outcome(Config):
    """Iterations until the loss is within 10⁻⁶ of its minimum, relative to the initial loss; 5000 if it does not get there."""

    best: int
    """Fewest iterations over the grid."""
    best_rates: tuple[float, float]
    """Learning rate and momentum of these fewest iterations."""
    learned: dict[Rule, int]
    """Rule -> iterations under its rates."""


class Objective(nn.Module):
    """A function of one vector, or of several at once."""

    def __init__(self, value: Callable[[Tensor], Tensor], size: int) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(size, dtype=torch.float64))
        self.value = value

    def forward(self) -> Tensor:
        """Return the value of the function at the current x."""
        return self.value(self.x)


def objective(problem: Problem, seed: int) -> Objective:
    """Return a random instance: 50 eigenvalues, their logarithms uniform over a factor of 160; or 200 points of two classes in 20
    dimensions, with weight decay.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    if problem == "quadratic":
        basis, _ = torch.linalg.qr(normal(SIDE, SIDE))
        values = 0.1 * 160 ** torch.rand(SIDE, dtype=torch.float64, generator=generator)
        matrix, minimum = (basis * values) @ basis.T, normal(SIDE)
        return Objective(lambda x: 0.5 * ((x - minimum) @ matrix * (x - minimum)).sum(-1), SIDE)
    points, truth = normal(ROWS, COLUMNS), normal(COLUMNS)
    signs = torch.sign(points @ truth + normal(ROWS))
    return Objective(lambda x: nn.functional.softplus(-(x @ points.T) * signs).mean(-1) + DAMPING / 2 * x.square().sum(-1), COLUMNS)


def derivatives(problem: Objective, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradient and Hessian at one vector."""
    x = x.detach().requires_grad_()
    [gradient] = torch.autograd.grad(problem.value(x), x, create_graph=True)
    rows = [torch.autograd.grad(entry, x, retain_graph=True)[0] for entry in gradient]
    return gradient.detach(), torch.stack(rows)


def minimum(problem: Objective) -> float:
    """Return the least value, to rounding, by Newton's method from 0 (both functions are convex)."""
    x = torch.zeros_like(problem.x)
    for _ in range(50):
        gradient, hessian = derivatives(problem, x)
        x = x - torch.linalg.solve(hessian, gradient)
    return float(problem.value(x))


def best_of_grid(problem: Objective) -> tuple[int, tuple[float, float]]:
    """Return the fewest iterations of heavy-ball descent over 20 learning rates × 10 momenta, and their learning rate and momentum."""
    curvature = float(torch.linalg.eigvalsh(derivatives(problem, problem.x)[1])[-1])
    rates = np.geomspace(0.05, 4, RATES) / curvature
    momenta = 1 - np.geomspace(1, 0.01, MOMENTA)
    rate, momentum = (torch.tensor(each).reshape(-1, 1) for each in map(np.ravel, np.meshgrid(rates, momenta, indexing="ij")))
    least, x = minimum(problem), torch.zeros(len(rate), len(problem.x), dtype=torch.float64, requires_grad=True)
    target = least + GAP * (float(problem().detach()) - least)
    speed = torch.zeros_like(x)
    for step in range(MOST + 1):
        values = problem.value(x)
        if bool((values <= target).any()):
            chosen = int((values <= target).nonzero()[0])
            return step, (float(rate[chosen]), float(momentum[chosen]))
        [gradient] = torch.autograd.grad(values.sum(), x)
        with torch.no_grad():
            speed = momentum * speed + gradient
            x -= rate * speed
    return MOST, (float("nan"), float("nan"))


def learned(problem: Objective, rule: Rule, *, every: int = 20) -> int:
    """Return the iterations under the method's rates, measured every ``every`` iterations (one image counts as one iteration)."""
    with torch.no_grad():
        problem.x.zero_()
    least = minimum(problem)
    target = least + GAP * (float(problem().detach()) - least)
    method = CurvatureRates(rule=rule, every=every, batches=1)
    player = Player("classifier", problem, lambda network: torch.optim.SGD(network.parameters(), 1.0, momentum=0.9), 1.0)
    players: dict[PlayerName, Player] = {"classifier": player}
    progress = Progress()

    def losses(player: PlayerName, halves: Sequence[int], network: Callable[..., object] | None = None) -> Tensor:
        value: Tensor = problem()
        return value

    method.start(players, losses)
    while progress.images_seen < MOST:
        method.begin(players, progress)
        for group in player.optimizer.param_groups:
            group["lr"] = player.learning_rate * method.learning_rate_factor(player, progress)
        if float(problem().detach()) <= target:
            break
        player.optimizer.zero_grad()
        problem().backward()
        player.optimizer.step()
        progress.images_seen += 1
        method.between(players, progress, losses)
    return progress.images_seen


def compare(problem: Problem, *, seed: int, rules: Sequence[Rule]) -> Outcome:
    """Return the iterations of the grid's best and of each rule on one instance."""
    instance = objective(problem, seed)
    best, rates = best_of_grid(instance)
    return Outcome(best=best, best_rates=rates, learned={rule: learned(instance, rule) for rule in rules})
