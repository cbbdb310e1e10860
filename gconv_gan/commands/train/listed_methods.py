"""The training methods that a config lists."""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path

import torch
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import PartConfig, constructor
from gconv_gan.methods.method import Method, PlayerName
from gconv_gan.models.changes import read_records, repeat
from gconv_gan.training.checkpoint import STATE


def listed_methods(configs: Sequence[PartConfig]) -> tuple[Method, ...]:
    """Return the methods of ``[[methods]]``; raise ``UserError`` naming the entry with wrong values."""
    methods: list[Method] = []
    for index, config in enumerate(configs):
        method: Method = constructor(config, f"methods.{index}")()
        method.section = config
        methods.append(method)
    return tuple(methods)


def checked(
    methods: Sequence[Method],
    networks: Mapping[PlayerName, nn.Module],
    optimizers: Mapping[PlayerName, Callable[[nn.Module], torch.optim.Optimizer]],
    resumes_from: Path | None,
    *,
    total_images: int,
) -> tuple[Method, ...]:
    """Return ``methods``, which have repeated on ``networks`` the changes recorded in the checkpoint that the run resumes from.

    Args:
        methods: of the run.
        networks: newly built.
        optimizers: the constructor of each network's optimiser.
        resumes_from: the checkpoint; None: a new run.
        total_images: length of the run.

    Raises:
        UserError: one cannot act on the networks, with their optimisers, within the run, or beside another one; or the checkpoint was
            written by other methods.

    """
    if resumes_from is not None:
        repeat(networks, read_records(resumes_from / STATE), methods, source=resumes_from / STATE)
    for method in methods:
        method.check(networks)
        method.check_optimizers({name: optimizers[name](network) for name, network in networks.items()})
        method.check_length(total_images)
    for changing, other in permutations(methods, 2):
        for name in networks:
            if name in changing.changes_structure_of and name in other.depends_on_structure_of:
                raise UserError(
                    f"{_kind(changing)} changes the structure of the {name}, on which {_kind(other)} relies: leave one of the two out, or"
                    " let their players name different networks"
                )
    return tuple(methods)


def _kind(method: Method) -> str:
    return type(method).__name__ if method.section is None else method.section.kind
