"""A player and the iteration of a task around a method, in any precision, for tests of methods by themselves."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gconv_gan.methods.method import Method, Player, Progress
from gconv_gan.models.classifiers.named import build_classifier
from gconv_gan.optim.learning_rates import hold_learning_rates, set_learning_rate
from gconv_gan.optim.optimizers import sgd

SMALL: dict[str, dict[str, object]] = {
    "convnet_si": {"widths": (6, 8, 12, 16)},
    "convnet": {"widths": (6, 8, 12, 16)},
    "resnet18_si": {"widths": (4, 6, 8, 8), "stem_width": 4},
    "preact_resnet18_cifar": {"widths": (4, 6, 8, 8), "stem_width": 4},
    "vgg11_cifar": {"widths": (4, 4, 8, 8, 8), "hidden": (8,)},
    "elu_net_11": {"width": 1 / 64},
}
"""Keywords that make named networks small."""


def small(name: str, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_classifier(name, num_classes=5, image_size=32, **SMALL[name])


def without_eps(network: nn.Module) -> nn.Module:
    """Let the norms of ``network`` divide by the deviation itself."""
    for module in network.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-30
    return network


def classifier(network: nn.Module, *, learning_rate: float = 0.1) -> Player:
    player = Player("classifier", network, partial(sgd, learning_rate=learning_rate, momentum=0.0, weight_decay=0.0), learning_rate)
    hold_learning_rates(player.optimizer, torch.device("cpu"))
    return player


def batch(step: int, dtype: torch.dtype, *, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    return torch.randn(size, 3, 32, 32, generator=generator, dtype=torch.float64).to(dtype), torch.arange(size) % 5


def begun(method: Method, player: Player) -> None:
    """Start ``method`` on ``player`` as a new run does."""
    method.check({player.name: player.network})
    method.start({player.name: player}, lambda *_: torch.zeros(()))
    player.rebuild()
    hold_learning_rates(player.optimizer, torch.device("cpu"))
    method.begin({player.name: player}, Progress())


def step(methods: list[Method], player: Player, number: int, *, seen: Callable[[], None] = lambda: None) -> float:
    """Take one step as a task does and return the loss before it; call ``seen`` between the optimiser's step and the methods'."""
    factor = 1.0
    for method in methods:
        factor *= method.learning_rate_factor(player, Progress())
    set_learning_rate(player.optimizer, player.learning_rate * factor)
    images, labels = batch(number, next(player.network.parameters()).dtype)
    loss = cross_entropy(player.network.train()(images), labels)
    torch.autograd.backward(loss)
    for method in methods:
        method.after_backward(player)
    player.optimizer.step()
    player.optimizer.zero_grad()
    seen()
    for method in methods:
        method.after_step(player)
    return loss.item()
