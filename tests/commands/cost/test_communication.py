"""Communication by its formulas, checked by hand."""

import pytest

from gconv_gan.commands.cost.communication import COUNTS, Links, StepTraffic, scaling


def test_large_gradients_go_round_a_ring_and_small_ones_through_a_tree() -> None:
    links = Links(node_gb_per_second=100.0, network_gb_per_second=10.0, node_microseconds=1.0, network_microseconds=10.0)
    assert links.all_reduce_ms(10**9, 8) == pytest.approx(1000 * (2 * 7 / 8 / 100 + 14e-6))
    assert links.all_reduce_ms(4, 64) == pytest.approx(1000 * 12 * 10e-6, rel=1e-3)
    assert links.all_reduce_ms(10**9, 1) == 0


def test_an_iteration_sends_each_players_gradients_once_per_step() -> None:
    links = Links(node_microseconds=0.0)
    assert StepTraffic(100, 10, n_dis=5).gradient_bytes == 150
    assert StepTraffic(10**9, 0, n_dis=3).milliseconds(links, 2) == pytest.approx(links.all_reduce_ms(10**9, 2))
    assert StepTraffic(0, 10**9, n_dis=3).milliseconds(links, 2) == pytest.approx(3 * links.all_reduce_ms(10**9, 2))
    norms = StepTraffic(0, 0, n_dis=3, norm_channels=(64, 64))
    table, sums = links.all_reduce_ms(4 * 4 * 129, 4), links.all_reduce_ms(4 * 128, 4)
    assert norms.milliseconds(links, 4) == pytest.approx(2 * (4 * table + sums))


def test_scaling_is_perfect_without_communication_and_falls_with_it() -> None:
    free = scaling(10.0, StepTraffic(0, 0, n_dis=1), Links(node_microseconds=0.0, network_microseconds=0.0))
    assert [(row.weak_efficiency, row.strong_speedup) for row in free] == [(1.0, pytest.approx(count)) for count in COUNTS]
    busy = scaling(10.0, StepTraffic(10**8, 10**8, n_dis=2), Links())
    assert [row.weak_efficiency for row in busy] == sorted((row.weak_efficiency for row in busy), reverse=True)
