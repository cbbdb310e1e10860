"""A plug-in: a training method that halves the channels inside a residual block of every network of a run while it trains."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import PositiveInt
from torch import nn
from torch.nn.utils import parametrize

from gconv_gan import parts
from gconv_gan.layers.weights import stored
from gconv_gan.methods.method import Losses, Method, Player, PlayerName, Progress

PLACES: dict[PlayerName, tuple[str, str | None, str]] = {
    "generator": ("blocks.0.conv1", "blocks.0.norm2", "blocks.0.conv2"),
    "discriminator": ("blocks.1.conv1", None, "blocks.1.conv2"),
    "classifier": (
        "network.trunk.stage1.0.branch.conv1",
        "network.trunk.stage1.0.branch.preactivation2.norm",
        "network.trunk.stage1.0.branch.conv2",
    ),
}


class Narrowing(Method):
    """Keep the first half of the channels between the convolutions of a block, from a number of images on.

    The environment variable POWER_CUT ends the process after so many images.

    Args:
        images: When.
        players: Whose networks are changed.

    """

    def __init__(self, *, images: PositiveInt = 192, players: tuple[PlayerName, ...] = tuple(PLACES)) -> None:
        self.images, self.players = images, players
        self.changes_structure_of = self.depends_on_structure_of = players
        self.kept: dict[PlayerName, int] = {}
        self.seen: Measured | None = None

    def start(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        self.measure(players, losses)

    def measure(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        values = torch.stack([losses(name, (0, 1)).detach() for name in players])
        assert self.seen is not None
        self.seen.losses.copy_(torch.cat([self.seen.losses[len(values) :], values]))

    def between(self, players: Mapping[PlayerName, Player], progress: Progress, losses: Losses) -> bool:
        if os.environ.get("POWER_CUT") == str(progress.images_seen):
            os._exit(9)
        if self.kept or progress.images_seen < self.images:
            return False
        for name, player in players.items():
            if name in self.players:
                self.kept[name] = stored(player.network.get_submodule(PLACES[name][0]), "weight").shape[0] // 2
                narrow(player.network, name, self.kept[name])
                player.rebuild()
        self.measure(players, losses)
        return True

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        self.seen = Measured(2 * len(networks))

    def state(self) -> Mapping[str, nn.Module]:
        return {} if self.seen is None else {"measured": self.seen}

    def facts(self) -> dict[str, Any]:
        return {"kept": self.kept} if self.kept else {}

    def rebuild(self, name: PlayerName, network: nn.Module, facts: Mapping[str, Any]) -> None:
        self.kept = dict(facts["kept"])
        if name in self.kept:
            narrow(network, name, self.kept[name])


class Measured(nn.Module):
    """The losses of all players at the start and after the change."""

    losses: torch.Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("losses", torch.zeros(count))


def narrow(network: nn.Module, name: PlayerName, kept: int) -> None:
    """Keep the first channels between two convolutions."""
    first, norm, second = (None if path is None else network.get_submodule(path) for path in PLACES[name])
    assert first is not None
    assert second is not None
    cut(first, 0, kept)
    cut(second, 1, kept)
    for module in () if norm is None else norm.modules():
        for tensors in (module._parameters, module._buffers):
            for key, tensor in tensors.items():
                if tensor is not None and tensor.ndim:
                    axis = tensor.ndim - 1  # of an embedding the second
                    part = tensor.detach().narrow(axis, 0, kept).clone()
                    tensors[key] = nn.Parameter(part) if isinstance(tensor, nn.Parameter) else part  # type: ignore[assignment]
        for attribute in ("num_features", "embedding_dim"):
            if hasattr(module, attribute):
                setattr(module, attribute, kept)


def cut(conv: nn.Module, axis: int, kept: int) -> None:
    """Keep the first channels of one axis of a convolution's weight, also of one with spectral normalisation."""
    weight = stored(conv, "weight").detach().narrow(axis, 0, kept).contiguous()
    if parametrize.is_parametrized(conv, "weight"):
        chain: Any = conv.parametrizations["weight"]  # type: ignore[index]
        chain.original = nn.Parameter(weight)
        step = chain[0]
        if axis == 0:
            step._u = step._u[:kept] / step._u[:kept].norm()
        else:
            v = step._v.view(-1, weight[0, 0].numel())[:kept].flatten()
            step._v = v / v.norm()
    else:
        conv.weight = nn.Parameter(weight)
    if axis == 0 and conv.bias is not None:
        conv.bias = nn.Parameter(conv.bias.detach()[:kept].clone())  # type: ignore[operator]
    setattr(conv, ("out_channels", "in_channels")[axis], kept)


parts.METHODS["narrowing"] = Narrowing
