"""Tensors that are functions of sizes, precision and device alone: each is made once in a process."""

from collections.abc import Callable
from functools import cache
from typing import ParamSpec, cast

import torch
from torch import Tensor

P = ParamSpec("P")


def constant(build: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Return ``build`` with its results kept, one for each set of arguments, which must be hashable and name the device.

    Callers share the result and must not change it. It is never dropped: a captured CUDA graph reads it at its address.
    """

    @cache
    def once(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():  # a tensor made in inference mode could not be saved for a backward pass
            return build(*args, **kwargs)

    return cast(Callable[P, Tensor], once)
