"""Costs: exact counts, exact memory of small functions, and medians of interleaved times."""

import time
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.metrics.cost import Counts, counts, inference, peak_bytes, seconds, training_step


def test_counts_of_a_small_network_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 10))
    assert counts(network, torch.zeros(2, 3, 6, 6)) == Counts(3 * 8 * 9 + 16 + 288 * 10 + 10, 3 * 8 * 9 * 36 + 288 * 10)


def test_frozen_parameters_are_not_trained() -> None:
    network = nn.Conv2d(3, 8, 1)
    network.bias.requires_grad_(False)
    assert counts(network, torch.zeros(1, 3, 4, 4)).parameters == 24


def test_the_peak_is_the_memory_allocated_at_once() -> None:
    block = 256 * 1024 * 4

    def chain() -> Tensor:
        x = torch.ones(256 * 1024)
        for _ in range(5):
            x = x * 2  # the old and the new live together, never a third
        return x

    def hoard() -> list[Tensor]:
        return [torch.ones(256 * 1024) for _ in range(5)]

    # the scalar of the multiplication takes some bytes too
    assert 2 * block <= peak_bytes(chain) < 2 * block + 100
    assert 5 * block <= peak_bytes(hoard) < 5 * block + 100


def test_the_peak_includes_tensors_kept_for_the_backward_pass() -> None:
    x = torch.ones(4, 1, 64, 64)
    deep, shallow = (nn.Sequential(*(nn.Tanh() for _ in range(depth))) for depth in (6, 1))
    assert peak_bytes(training_step(deep, x)) - peak_bytes(training_step(shallow, x)) >= 4 * x.numel() * 4
    assert peak_bytes(inference(deep, x)) <= 3 * x.numel() * 4


def test_every_round_runs_every_candidate_once_and_the_median_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []
    durations = {"a": iter([9.0, 1.0, 5.0, 2.0]), "b": iter([9.0, 7.0, 3.0, 4.0])}  # the first of each is the warm-up

    def candidate(name: str) -> None:
        order.append(name)
        clock[0] += next(durations[name])

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    found = seconds({name: partial(candidate, name) for name in durations}, repeats=3)
    assert order == ["a", "b"] * 4
    assert found == {"a": 2.0, "b": 4.0}
