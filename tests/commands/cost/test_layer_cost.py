"""The table of layer costs: every public layer has a row, and the counts are exact."""

import inspect

import pytest
import torch
from torch import nn

from gconv_gan import layers
from gconv_gan.commands.cost.layer_cost import BASELINE, LAYERS, Shape, layer_costs, table

SHAPE = Shape(batch=4, channels=16, size=8)
WITHOUT_A_COST_OF_THEIR_OWN = {
    "Conditioned": "a marker",
    "KernelBank2d": "base class of the dynamic convolutions",
    "KernelGate": "base class of the gates",
}


def test_every_public_layer_has_a_row() -> None:
    listed = {type(module) for make in LAYERS.values() for module in make(16).modules()}
    public = {name: value for name in layers.__all__ if inspect.isclass(value := getattr(layers, name)) and issubclass(value, nn.Module)}
    missing = {name for name, value in public.items() if value not in listed} - WITHOUT_A_COST_OF_THEIR_OWN.keys()
    assert not missing, f"add a line for {missing} to LAYERS in commands/cost/layer_cost.py"


def test_every_layer_runs_and_counts_agree_with_hand_counts() -> None:
    costs = {cost.layer: cost for cost in layer_costs(SHAPE, repeats=1)}
    assert costs.keys() == LAYERS.keys()
    assert all(cost.step_ratio > 0 and cost.forward_ratio > 0 and cost.memory_ratio > 0 for cost in costs.values())
    base = costs[BASELINE]
    assert (base.parameters, base.macs) == (16 * 16 * 9 + 16, 16 * 16 * 9 * 64)
    assert base.memory_ratio == 1.0
    assert (costs["conv 3x3, 4 groups"].parameters, costs["conv 3x3, 4 groups"].macs) == (16 * 4 * 9 + 16, 16 * 4 * 9 * 64)
    assert costs["spectral norm"].parameters == base.parameters
    assert costs["ConvNorm2d"].parameters == base.parameters
    assert costs["BatchNorm2d"].parameters == 32
    assert costs["GhostModule"].macs == (8 * 16 * 9 + 8 * 9) * 64


def test_the_table_names_its_baseline() -> None:
    [cost] = layer_costs(SHAPE, repeats=1, names=("BatchNorm2d",))
    text = table(SHAPE, [cost])
    assert text.splitlines()[0] == "4 × 16 × 8 × 8, against conv 3x3"
    assert f"| BatchNorm2d | 32 | 0 | {1000 * cost.step_seconds:.3g} ms, ×{cost.step_ratio:.2f} | " in text


def test_the_profiler_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    layer_costs(SHAPE, repeats=2, names=("GhostModule", "spectral norm"))
    assert capfd.readouterr().err == ""


def test_layers_do_not_depend_on_the_global_generator() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    layer_costs(SHAPE, repeats=1, names=(BASELINE,))
    assert torch.equal(before, torch.random.get_rng_state())
    with pytest.raises(KeyError):
        layer_costs(SHAPE, repeats=1, names=("no layer",))
