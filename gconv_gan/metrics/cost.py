"""Costs of a network or a layer: parameters, MACs, time and memory of a training step, latency.

Counts are exact. Times are medians of interleaved runs in one process, so that other load on the machine affects all candidates
equally; compare them as ratios. Memory is the peak of torch's allocator, which on a CPU is exact and reproducible.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from gconv_gan.models.summary import summarise
from gconv_gan.runtime.modes import evaluating

Key = TypeVar("Key")

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise the profiler writes to standard error at every start


@dataclass(frozen=True)
class Counts:
    """Exact size of a network."""

    parameters: int
    macs: int
    """Multiply-adds per image of a forward pass."""


def counts(network: nn.Module, *inputs: Tensor | None) -> Counts:
    """Return the trainable parameters of ``network`` and its MACs per image of ``inputs``, counted as in ``models.summary``."""
    rows = summarise(network, *inputs)
    return Counts(sum(p.numel() for p in network.parameters() if p.requires_grad), sum(row.macs for row in rows))


def rounds(candidates: Mapping[Key, Callable[[], object]], *, repeats: int, device: torch.device | str = "cpu") -> dict[Key, list[float]]:
    """Return the seconds of each candidate in each of ``repeats`` rounds in which every candidate runs once, after a warm-up."""
    taken: dict[Key, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()
    for _ in range(repeats):
        for name, run in candidates.items():
            synchronise(device)
            start = time.perf_counter()
            run()
            synchronise(device)
            taken[name].append(time.perf_counter() - start)
    return taken


def seconds(candidates: Mapping[str, Callable[[], object]], *, repeats: int, device: torch.device | str = "cpu") -> dict[str, float]:
    """Return the median of :func:`rounds` for each candidate."""
    return {name: statistics.median(times) for name, times in rounds(candidates, repeats=repeats, device=device).items()}


def synchronise(device: torch.device | str) -> None:
    """Wait until a GPU has executed all launched operations, before a time is read."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def busy_seconds(run: Callable[[], object], device: torch.device | str) -> float:
    """Return the seconds of one call: this process's processor time on a CPU, else the elapsed time until the device is done.

    Processor time is the sum over threads; with one thread, other load on the machine hardly affects it.
    """
    clock = time.process_time if torch.device(device).type == "cpu" else time.perf_counter
    synchronise(device)
    begun = clock()
    run()
    synchronise(device)
    return clock() - begun


def peak_bytes(run: Callable[[], object], *, device: torch.device | str = "cpu") -> int:
    """Return the peak of torch's allocated bytes while ``run`` runs, minus the bytes allocated before."""
    if torch.device(device).type == "cuda":
        run()  # the first call allocates gradients, caches and workspaces
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        for _ in range(2):  # the second call frees the gradients of the first
            run()
    now = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def training_step(network: nn.Module, x: Tensor, *rest: object) -> Callable[[], None]:
    """Return one forward and backward pass of ``network(x, *rest)`` in training mode, with gradients in the parameters and in x."""
    x = x.detach().requires_grad_(True)

    def run() -> None:
        network.train()
        network.zero_grad(set_to_none=True)
        x.grad = None
        network(x, *rest).square().mean().backward()

    return run


def inference(network: nn.Module, *inputs: Tensor | None) -> Callable[[], None]:
    """Return one forward pass in evaluation mode, without a graph."""

    def run() -> None:
        with evaluating(network), torch.no_grad():
            network(*inputs)

    return run
