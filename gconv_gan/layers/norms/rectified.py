"""A norm and the rectifier behind it as one operation, where the norm can."""

import inspect
from functools import cache
from typing import Any

from torch import Tensor, nn

from gconv_gan.layers.activations import rectifier_slope
from gconv_gan.layers.conditioning import Condition, apply


def activated(norm: nn.Module, activation: nn.Module, x: Tensor, condition: Condition | Tensor | None = None) -> Tensor:
    """Return ``activation(norm(x))``; a norm whose ``forward`` has a keyword ``slope`` computes the activation too if that is a rectifier.

    Args:
        norm: with or without a condition.
        activation: called by itself where the norm does not compute it, and where it has hooks.
        x: the norm's input.
        condition: the norm's condition; None: the norm takes none.

    """
    condition = Condition() if condition is None else condition
    slope = rectifier_slope(activation)
    kind: Any = type(norm)
    if slope is not None and _takes_slope(kind) and not (activation._forward_hooks or activation._forward_pre_hooks):
        return apply(norm, x, condition, slope=slope)
    result: Tensor = activation(apply(norm, x, condition))
    return result


@cache
def _takes_slope(kind: Any) -> bool:
    return "slope" in inspect.signature(kind.forward).parameters
