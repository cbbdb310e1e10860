"""GradInit: the scale of every parameter tensor, learned before training."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float64
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call

from gconv_gan.config.errors import UserError
from gconv_gan.config.ranges import Fraction
from gconv_gan.gallery.page.theme import DARK, LIGHT
from gconv_gan.gallery.pictures.scales import ScaledTensor, draw_scales
from gconv_gan.layers.lipschitz.weight_norms import parameters_without_scale
from gconv_gan.layers.norms.running_statistics import several_processes
from gconv_gan.layers.roles import Role
from gconv_gan.losses.double_backward import DoubleBackward
from gconv_gan.losses.second_derivative import module_without_second_derivative, twice_differentiated
from gconv_gan.methods.method import Losses, Method, Player, PlayerName, chosen_players
from gconv_gan.methods.surgery import example_inputs
from gconv_gan.optim.parameter_groups import parameters_by_role
from gconv_gan.runtime.modes import copied_buffers, without_dropout

Weights = Mapping[str, Tensor]
LossOfWeights = Callable[[Weights], Tensor]
Norm = Literal[1, 2]
Scales = Float64[Tensor, " n"]

MAX_NORMS: Mapping[Norm, float] = {1: 1000.0, 2: 1.0}
SCALE_RATES: Mapping[Norm, float] = {1: 2.5e-3, 2: 1e-2}
BETAS = 0.9, 0.999
EPS = 1e-8
KERNEL_AXES = 4
BOUNDED_ROLES: tuple[Role, ...] = ("weight", "norm_scale")


# ---- the algorithm -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """The constants of the minimisation.

    Attributes:
        norm: p of the constraint; 2: steps of SGD along g/‖g‖₂; 1: steps of Adam along sign(g).
        learning_rate: η, the length of the step.
        max_norm: γ.
        clip: largest magnitude of a derivative.

    """

    norm: Norm
    learning_rate: float
    max_norm: float
    clip: float = 1.0


class Derivatives(NamedTuple):
    """What one iteration finds."""

    constrained: bool
    """Whether the gradient norm is above its bound: the derivatives are then those of the norm."""
    norm: float
    """The norm of the gradient."""
    values: Scales
    """The derivative with respect to each scale, clipped, on the CPU."""


def gradient(loss: Tensor, weights: Weights, *, twice: bool = False) -> dict[str, Tensor]:
    """Return the gradient of ``loss`` [] by name, zero for a tensor that it does not depend on; ``twice``: with its graph."""
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=twice, allow_unused=True, materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def total_norm(tensors: Weights, norm: Norm) -> Tensor:
    """Return the p-norm [] of all tensors together."""
    norms: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor, norm) for tensor in tensors.values()]), norm)
    return norms


def after_a_step(weights: Weights, gradients: Weights, problem: Problem) -> dict[str, Tensor]:
    """Return new leaves W - η A[g]: A[g] = g/‖g‖₂ of SGD, sign(g) of Adam, whose first step it is."""
    detached = {name: tensor.detach() for name, tensor in gradients.items()}
    if problem.norm == 1:
        direction = {name: tensor.sign() for name, tensor in detached.items()}
    else:
        length = total_norm(detached, 2).clamp(min=torch.finfo(torch.float32).tiny)
        direction = {name: tensor / length for name, tensor in detached.items()}
    return {name: (weight.detach() - problem.learning_rate * direction[name]).requires_grad_() for name, weight in weights.items()}


def scaled(weights: Weights, scales: Scales) -> dict[str, Tensor]:
    """Return new leaves α_i W_i."""
    return {
        name: (weight.detach() * scale).requires_grad_() for (name, weight), scale in zip(weights.items(), scales.tolist(), strict=True)
    }


def derivatives(first: LossOfWeights, second: LossOfWeights, weights: Weights, scales: Scales, problem: Problem) -> Derivatives:
    r"""Return the derivatives with respect to the scales at α.

    .. math::
        d_i = \Big\langle \frac{\partial \lVert g \rVert_p}{\partial (\alpha_i W_i)}, W_i \Big\rangle \text{ where } \lVert g \rVert_p >
        \gamma, \text{ else } \Big\langle \frac{\partial L(\tilde S; \theta - \eta A[g])}{\eta\, \partial (\alpha_i W_i)}, W_i \Big\rangle

    with the step held constant: only the constraint has second derivatives.

    Args:
        first: L(S; θ).
        second: L(S̃; θ).
        weights: W, by name.
        scales: α, in the order of ``weights``.
        problem: the constants.

    """
    theta = scaled(weights, scales)
    gradients = gradient(first(theta), theta, twice=True)
    norm = total_norm(gradients, problem.norm)
    length = float(norm.detach())
    constrained = length > problem.max_norm
    if constrained:
        found = gradient(norm, theta)
    else:
        moved = after_a_step(theta, gradients, problem)
        found = {name: tensor / problem.learning_rate for name, tensor in gradient(second(moved), moved).items()}
    products = [torch.sum(found[name] * weight.detach()) for name, weight in weights.items()]
    return Derivatives(constrained, length, torch.stack(products).double().cpu().clamp(-problem.clip, problem.clip))


class ScaleAdam:
    """Adam on the scales: first moments and step counts of their own for objective and constraint, one second moment for both.

    Args:
        minima: the least value of each scale.
        learning_rate: τ, the largest change of a scale in an iteration.

    """

    def __init__(self, minima: Scales, learning_rate: float) -> None:
        self.minima, self.learning_rate = minima, learning_rate
        self.first = {constrained: torch.zeros_like(minima) for constrained in (False, True)}
        self.second = torch.zeros_like(minima)
        self.steps = {False: 0, True: 0}

    def moved(self, scales: Scales, found: Derivatives) -> Scales:
        """Return the scales after a step down the derivatives."""
        self.steps[found.constrained] += 1
        first = self.first[found.constrained].lerp_(found.values, 1 - BETAS[0])
        self.second.lerp_(found.values.square(), 1 - BETAS[1])
        mean = first / (1 - BETAS[0] ** self.steps[found.constrained])
        square = self.second / (1 - BETAS[1] ** sum(self.steps.values()))
        return torch.maximum(scales - self.learning_rate * mean / (square.sqrt() + EPS), self.minima)


# ---- the method ----------------------------------------------------------------------------------------------------


class GradInit(Method):
    r"""Learn the scale of every parameter tensor before training, so that the first step of the optimiser lowers the loss most.

    .. math::
        \min_\alpha L\big(\tilde S; \theta - \eta A[g]\big) \text{ subject to } \lVert g \rVert_p \le \gamma, \qquad
        \theta = \{\alpha_i W_i\}, \quad g = \nabla_\theta L(S; \theta)

    (Zhu, Ni, Xu, Kong, Huang, Goldstein, NeurIPS 2021, arXiv 2102.08098), with one scale per tensor, embeddings, dictionaries and banks of
    kernels included. p and the direction A follow the network's optimiser: g/‖g‖₂ and p = 2 for SGD, sign(g) and p = 1 for Adam and AdamW;
    others are refused. S is batch i of the run and S̃ its first half with the second half of batch i + 1, so that they overlap by half. The
    networks of a GAN are scaled one after the other, each with its own loss and the other frozen; penalties are left out.

    Before the first iteration of a new run the tensors are multiplied by their scales, on all processes alike; the optimiser knows nothing
    of it. Meanwhile dropout layers are off, norms take the statistics of the batch, and no buffer changes. An iteration takes a gradient of
    the gradient where the norm is above γ, in float32, on the whole global batch at once, whatever ``trainer.micro_batches`` is.

    Weights whose scale their layer divides out (spectral norm, ConvNorm) keep it. The scale of a weight before a norm acts on the size of
    its gradient alone. A scale of 0 (biases alone) can grow again. With p = 1 the norm grows with the number of parameters: a γ that is
    always exceeded leaves iterations of the constraint alone, and one that never is, none; ``report.json`` counts them.

    Args:
        players: Networks to scale; none given: all of the run.
        iterations: Number of iterations (the official code: 390 or 780).
        scale_rate: τ, the largest change of a scale in an iteration; None: 0.01 with SGD, 0.0025 with Adam. (Official: 0.01 for VGG-19
            and 0.05 for ResNet-110 without norms, 0.1 and 0.001 with BatchNorm, 0.0025 for a Transformer.)
        learning_rate: η, the length of the step that is looked ahead; None: the network's learning rate.
        max_norm: γ; None: 1 with SGD, 1000 with Adam.
        clip: Largest magnitude of a derivative with respect to a scale.
        min_scale: Least scale of a weight or of a norm's scale; that of other tensors is 0.

    """

    def __init__(
        self,
        *,
        players: Sequence[PlayerName] = (),
        iterations: PositiveInt = 390,
        scale_rate: NonNegativeFloat | None = None,
        learning_rate: PositiveFloat | None = None,
        max_norm: PositiveFloat | None = None,
        clip: PositiveFloat = 1.0,
        min_scale: Fraction = 0.01,
    ) -> None:
        self.players, self.iterations, self.scale_rate = tuple(players), iterations, scale_rate
        self.learning_rate, self.max_norm, self.clip, self.min_scale = learning_rate, max_norm, clip, min_scale
        self.found: dict[PlayerName, Found] = {}

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Raise ``UserError`` for a network that the run lacks, that has nothing to scale, or that cannot be differentiated twice."""
        chosen = chosen_players("gradinit", self.players, networks)
        for name in chosen:
            network = networks[name]
            kept = parameters_without_scale(network)
            free = [key for key, one in network.named_parameters() if one.requires_grad and key not in kept and one.ndim > 1]
            if not free:
                raise UserError(
                    f"gradinit has no weight of the {name} to scale: its weights are normalised, so that a scale has no effect; "
                    f"leave {name} out of players"
                )
        for name in dict.fromkeys((*chosen, *(("discriminator",) if "generator" in chosen else ()))):
            check_second_derivative(name, networks[name])  # the loss of a generator passes through the discriminator

    def check_optimizers(self, optimizers: Mapping[PlayerName, torch.optim.Optimizer]) -> None:
        """Raise ``UserError`` for an optimiser whose first step is not known."""
        for name in chosen_players("gradinit", self.players, optimizers):
            norm_of(name, optimizers[name])

    def start(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        """Find the scales of every network and apply them."""
        self.check({name: player.network for name, player in players.items()})  # again: a device has operations of its own
        for name in chosen_players("gradinit", self.players, players):
            player = players[name]
            norm = norm_of(name, player.optimizer)
            problem = Problem(norm, self.learning_rate or player.learning_rate, self.max_norm or MAX_NORMS[norm], self.clip)
            rate = SCALE_RATES[norm] if self.scale_rate is None else self.scale_rate
            self.found[name] = found = self._find(player, losses, problem, rate)
            with torch.no_grad():
                for (_, parameter), tensor in zip(player.parameters, found.tensors, strict=True):
                    parameter.mul_(tensor.scale)

    def _find(self, player: Player, losses: Losses, problem: Problem, rate: float) -> "Found":
        """Return the scales of a network, which is not changed."""
        began = time.perf_counter()
        network, name = player.network, player.name
        kept = parameters_without_scale(network)
        weights = {key: parameter.detach() for key, parameter in player.parameters}
        free = [key not in kept for key in weights]
        roles = parameters_by_role(network)
        bounded = {id(parameter) for role in BOUNDED_ROLES for parameter in roles[role]}
        minima = [self.min_scale if id(parameter) in bounded else 0.0 for _, parameter in player.parameters]
        adam = ScaleAdam(torch.tensor(minima, dtype=torch.float64), rate)
        scales = torch.ones(len(weights), dtype=torch.float64)

        def loss_on(*halves: int) -> LossOfWeights:
            return lambda theta: losses(name, halves, lambda *inputs: functional_call(network, dict(theta), inputs))

        with without_dropout(network), DoubleBackward():
            before = gradient_norms(loss_on(0, 1), weights, scales)
            for index in range(self.iterations):
                first, second = loss_on(2 * index, 2 * index + 1), loss_on(2 * index, 2 * index + 3)
                try:
                    found = derivatives(first, second, weights, scales, problem)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError as error:
                    raise refusal(error, None) from error
                if not (torch.isfinite(found.values).all() and torch.isfinite(torch.tensor(found.norm))):
                    raise UserError(
                        f"gradinit: the gradient of the {name} is not finite in iteration {index}: lower methods' learning_rate or "
                        f"scale_rate, or leave {name} out of players"
                    )
                found = found._replace(values=found.values * torch.tensor(free))
                scales = adam.moved(scales, found)
            scales = from_main_process(scales, next(iter(weights.values())).device)
            after = gradient_norms(loss_on(0, 1), weights, scales)
        tensors = [
            ScaledTensor(key, tuple(weight.shape), scale, one and bool(weight.any()), x, y)
            for (key, weight), scale, one, x, y in zip(weights.items(), scales.tolist(), free, before, after, strict=True)
        ]
        return Found(problem, rate, adam.steps[True], time.perf_counter() - began, tensors)

    def files(self) -> Mapping[str, bytes]:
        """Return scales and gradient norms as JSON and as a picture."""
        if not self.found:
            return {}
        names = " and ".join(self.found)
        picture = {
            "title": "Scales of GradInit",
            "caption": f"Left: the factor on each tensor of the {names}, in the order of the network. Right: the norm of the gradient of "
            "each on the first batch, before and after.",
            "alt": f"Scales and gradient norms of the tensors of the {names}.",
        }
        report = {
            "numbers": {f"{name}_{key}": value for name, found in self.found.items() for key, value in found.numbers().items()},
            "pictures": {"scales.png": picture},
            "players": {name: found.report() for name, found in self.found.items()},
        }
        tensors = {str(name): found.tensors for name, found in self.found.items()}
        return {
            "report.json": (json.dumps(report, indent=2) + "\n").encode(),
            "scales.png": draw_scales(tensors, theme=LIGHT),
            "scales-dark.png": draw_scales(tensors, theme=DARK),
        }


@dataclass(frozen=True)
class Found:
    """The scales of one network."""

    problem: Problem
    scale_rate: float
    constrained: int
    """Iterations in which the norm was above its bound."""
    seconds: float
    tensors: Sequence[ScaledTensor]

    def total(self, which: Literal["before", "after"]) -> float:
        """Return the norm of the whole gradient, in the norm of the constraint."""
        return total_norm(
            {one.name: torch.tensor(getattr(one, which)[self.problem.norm]) for one in self.tensors}, self.problem.norm
        ).item()

    def numbers(self) -> dict[str, float]:
        """Return the numbers that runs are compared by."""
        kernels = [one.scale for one in self.tensors if one.free and len(one.shape) >= KERNEL_AXES]
        found = {"constrained_iterations": float(self.constrained)}
        found |= {"gradient_norm_before": self.total("before"), "gradient_norm_after": self.total("after")}
        return found | ({"smallest_kernel_scale": min(kernels), "largest_kernel_scale": max(kernels)} if kernels else {})

    def report(self) -> dict[str, Any]:
        """Return everything as plain data."""
        problem = self.problem
        return {
            "norm": problem.norm,
            "learning_rate": problem.learning_rate,
            "max_norm": problem.max_norm,
            "scale_rate": self.scale_rate,
            "constrained_iterations": self.constrained,
            "seconds": round(self.seconds, 2),
            "gradient_norm": {"before": self.total("before"), "after": self.total("after")},
            "tensors": {
                one.name: {
                    "shape": one.shape,
                    "scale": one.scale,
                    "gradient_norm_before": one.before[2],
                    "gradient_norm_after": one.after[2],
                }
                for one in self.tensors
            },
        }


def norm_of(name: PlayerName, optimizer: torch.optim.Optimizer) -> Norm:
    """Return p for an optimiser: 2 for SGD, 1 for Adam and AdamW, whose first step is along the sign of the gradient.

    Raises:
        UserError: it is another one.

    """
    if isinstance(optimizer, torch.optim.SGD):
        return 2
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return 1
    section = "optimizer" if name == "classifier" else f"{name}_optimizer"
    raise UserError(
        f"gradinit looks a step of SGD, Adam or AdamW ahead, not one of {type(optimizer).__name__}: "
        f"choose another {section}.kind, or leave {name} out of players"
    )


def gradient_norms(loss: LossOfWeights, weights: Weights, scales: Scales) -> list[dict[Norm, float]]:
    """Return the 1-norm and the 2-norm of the gradient of every scaled tensor."""
    theta = scaled(weights, scales)
    found = gradient(loss(theta), theta)
    one, two = (torch.stack([torch.linalg.vector_norm(tensor, norm) for tensor in found.values()]).tolist() for norm in (1, 2))
    return [{1: a, 2: b} for a, b in zip(one, two, strict=True)]


def from_main_process(scales: Scales, device: torch.device) -> Scales:
    """Return the scales of the main process, which others found too, up to operations without a fixed order on some devices."""
    if not several_processes():
        return scales
    shared = scales.to(device)
    dist.broadcast(shared, src=0)
    return shared.cpu()


def check_second_derivative(name: PlayerName, network: nn.Module) -> None:
    """Differentiate a network twice on two examples; raise ``UserError`` naming the module that does not allow it."""
    tensors = [parameter for parameter in network.parameters() if parameter.requires_grad]
    run = partial(network, *example_inputs(name, network))
    with copied_buffers(network), without_dropout(network), DoubleBackward():
        try:
            twice_differentiated(run().square().sum(), tensors)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise refusal(error, module_without_second_derivative({name: network}, run)) from error


def refusal(error: RuntimeError, module: str | None) -> Exception:
    """Return the error of a loss that cannot be differentiated twice because of ``module``; ``error`` if it speaks of something else."""
    said = " ".join(str(error).split())
    if module is None and "derivative" not in said and "differentia" not in said:
        return error
    return UserError(
        f"gradinit differentiates a loss twice, which {module or 'a part of it outside of the networks'} does not support ({said[:160]}): "
        "choose another one, or leave the network out of players"
    )
