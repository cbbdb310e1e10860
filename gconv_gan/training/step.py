"""Functions around an optimiser's step that all tasks share: micro-batches, clipping, guard, methods, and losses without a step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gconv_gan.layers.lipschitz.conv_norm import cached_spectra
from gconv_gan.layers.lipschitz.spectral_norm import PowerIterations
from gconv_gan.layers.norms.running_statistics import batches_counted_together, statistics_of_one_process
from gconv_gan.methods.method import Method, Player
from gconv_gan.runtime.modes import copied_buffers, full_precision
from gconv_gan.runtime.precision import float32_arithmetic
from gconv_gan.training.guards import FiniteGuard
from gconv_gan.training.processes import average_gradients


@contextmanager
def one_step(power_iterations: PowerIterations) -> Iterator[None]:
    """Compute spectra, power iterations and batch counts once within the scope, for all passes between two optimiser steps."""
    with cached_spectra(), batches_counted_together(), power_iterations.once():
        yield


@contextmanager
def measuring(*networks: nn.Module) -> Iterator[None]:
    """Run the passes of the scope in float32 with the next step's power iterations, each on a whole global batch; then restore buffers."""
    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(full_precision(network))
            stack.enter_context(float32_arithmetic(next(network.parameters()).device))
            stack.enter_context(copied_buffers(network))
        stack.enter_context(statistics_of_one_process())
        stack.enter_context(PowerIterations(*networks).once(hold=False))
        yield


Inputs = TypeVar("Inputs", bound=tuple[Tensor | None, ...])


def half_batches(batch: Callable[[int], Inputs], halves: Sequence[int]) -> list[Inputs]:
    """Return half (h mod 2) of ``batch(⌊h / 2⌋)``, a named tuple, for each h; None and scalars are unchanged."""
    whole = {number: batch(number) for number in dict.fromkeys(half // 2 for half in halves)}
    return [_like(whole[half // 2], [_half(tensor, half % 2) for tensor in whole[half // 2]]) for half in halves]


def _half(tensor: Tensor | None, second: int) -> Tensor | None:
    if tensor is None or tensor.ndim == 0:
        return tensor
    middle = -(-len(tensor) // 2)
    return tensor[middle:] if second else tensor[:middle]


def concatenated(parts: Sequence[Inputs]) -> Inputs:
    """Return one named tuple: the tensors of ``parts`` concatenated along the batch axis; None stays None."""
    columns = zip(*parts, strict=True)
    return _like(parts[0], [None if column[0] is None else torch.cat(column) for column in columns])


def _like(inputs: Inputs, values: Sequence[Tensor | None]) -> Inputs:
    named: Any = type(inputs)
    like: Inputs = named(*values)
    return like


def backward(loss: Tensor, *, parameters: list[nn.Parameter]) -> None:
    """Accumulate the gradients of ``parameters`` alone, without those of the images, which a penalty has computed already.

    ``Accelerator.backward`` would add an operation: it divides by its accumulation steps, here 1.
    """
    torch.autograd.backward(loss, inputs=parameters)


def micro_batches(count: int, *tensors: Tensor | None) -> Iterator[list[Any]]:
    """Yield slices of the tensors for each of ``count`` equal parts; None and scalars are passed unchanged."""
    split = [[tensor] * count if tensor is None or tensor.ndim == 0 else tensor.chunk(count) for tensor in tensors]
    for index in range(count):
        yield [parts[index] for parts in split]


def over_micro_batches(step: Callable[..., dict[str, Tensor]], inputs: Any, network: nn.Module, *, count: int) -> dict[str, Tensor]:
    """Run ``step(part, backward=…, share=…)`` on ``count`` parts of a named tuple ``inputs``; return the means of its statistics.

    The gradients of ``network`` are accumulated.
    """
    accumulate = partial(backward, parameters=[parameter for parameter in network.parameters() if parameter.requires_grad])
    if count == 1:
        return step(inputs, backward=accumulate, share=1.0)
    found = [step(type(inputs)(*parts), backward=accumulate, share=1 / count) for parts in micro_batches(count, *inputs)]
    return {name: torch.stack([statistics[name] for statistics in found]).mean(0) for name in found[0]}


def finish_step(
    player: Player, *, methods: Sequence[Method], guard: FiniteGuard, max_grad_norm: float | None, images_seen: Tensor
) -> Tensor:
    """Average the complete gradient over processes, clip it, step if it is finite, and clear it; return its norm [] before clipping.

    Methods and optimisers compute in exact float32.
    """
    with float32_arithmetic(images_seen.device):
        average_gradients([parameter.grad for _, parameter in player.parameters if parameter.grad is not None])
        for method in methods:
            method.after_backward(player)
        gradients = {name: parameter.grad for name, parameter in player.parameters if parameter.grad is not None}
        norm = guard.watch(player.name, gradients, images_seen)
        if max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_([parameter for _, parameter in player.parameters], max_grad_norm, norm)
        player.optimizer.found_inf = guard.failed  # type: ignore[attr-defined]  # read by fused steps
        player.optimizer.grad_scale = None  # type: ignore[attr-defined]
        player.optimizer.step()
        player.optimizer.zero_grad(set_to_none=True)
        for method in methods:
            method.after_step(player)
    return norm
