"""Cache of tensors that are functions of sizes, precision and device alone: each is created once per process."""

from collections.abc import Callable
from functools import cache
from typing import ParamSpec, cast

import torch
from torch import Tensor

P = ParamSpec("P")


def constant(build: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Return ``build`` with a cache of its results by arguments, which must be hashable and include the device.

    Callers share the result and must not change it. It is never freed: a captured CUDA graph reads it at its address.
    """

    @cache
    def kept(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():  # a tensor created in inference mode cannot be saved for a backward pass
            return build(*args, **kwargs)

    def once(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        # torch.export traces with tensors that hold no numbers: none of them may stay here
        return build(*args, **kwargs) if torch.compiler.is_compiling() else cast(Callable[P, Tensor], kept)(*args, **kwargs)

    return once
