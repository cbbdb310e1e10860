"""The training methods that a config lists."""

from collections.abc import Mapping, Sequence

from torch import nn

from gconv_gan.config.schema import PartConfig, constructor
from gconv_gan.methods.method import Method, PlayerName


def listed_methods(configs: Sequence[PartConfig]) -> tuple[Method, ...]:
    """Return the methods of ``[[methods]]``; raise ``UserError`` naming the entry with wrong values."""
    return tuple(constructor(config, f"methods.{index}")() for index, config in enumerate(configs))


def checked(methods: Sequence[Method], networks: Mapping[PlayerName, nn.Module]) -> tuple[Method, ...]:
    """Return ``methods``; raise ``UserError`` if one cannot act on ``networks``."""
    for method in methods:
        method.check(networks)
    return tuple(methods)
