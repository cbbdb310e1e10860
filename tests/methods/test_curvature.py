"""The learner's formulas and bounds, what it makes of a run, and that a broken run keeps it."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.trained.trained_task import trained_task
from gconv_gan.config.errors import UserError
from gconv_gan.methods.curvature import CurvatureRates, Measured, Rates, Rule, bounded, extremes, rates_of, unbounded
from gconv_gan.methods.method import Player, PlayerName, Progress
from gconv_gan.runtime.tracking import read_metrics
from tests.reference.host_free import HostFreeEngine
from tests.training.interrupted import CLASSIFIER, At, PowerCutError, fit_with, power_cut
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier


def spectrum(values: Sequence[float], weights: Sequence[float], cauchy: float = 1.0) -> Measured:
    return Measured(np.array(values), np.array(weights), cauchy)


def test_the_formulas() -> None:
    polyak, nesterov, printed = (unbounded(rule, 16.0, 0.1, median=1.0, cauchy=1.0) for rule in ("polyak", "nesterov", "nesterov_printed"))
    assert polyak == pytest.approx((0.21471, 0.72841), abs=1e-5)
    assert nesterov == pytest.approx((0.0625, 0.85347), abs=1e-5)
    assert printed == pytest.approx((0.07906, 0.85347), abs=1e-5)
    assert unbounded("ssgd", 16.0, 0.1, median=4.0, cauchy=1.0) == (0.1, 0.0)
    assert unbounded("cauchy", 16.0, 0.1, median=4.0, cauchy=0.05) == (0.05, 0.0)


def test_the_squared_rule_converges_where_the_printed_one_diverges() -> None:
    values = torch.logspace(math.log10(0.1), math.log10(16), 50, dtype=torch.float64)

    def loss_after(steps: int, rates: Rates) -> float:
        x = torch.ones(50, dtype=torch.float64)
        speed = torch.zeros_like(x)
        for _ in range(steps):
            speed = rates.momentum * speed + values * x
            x = x - rates.learning_rate * speed
        return float((values * x * x).sum() / 2)

    squared = unbounded("polyak", 16.0, 0.1, median=1.0, cauchy=1.0)
    assert loss_after(400, squared) < 1e-20
    assert loss_after(400, Rates(math.sqrt(squared.learning_rate), squared.momentum)) > 1e20


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99, 1.5])
def test_no_eigenvalue_up_to_the_largest_is_unstable_within_the_bounds(nesterov: bool, momentum: float) -> None:
    largest = 16.0

    def radius(rates: Rates, eigenvalue: float) -> float:
        shrunk, rho = 1 - rates.learning_rate * eigenvalue, rates.momentum
        matrix = [[(1 + rho) * shrunk, -rho * shrunk], [1, 0]] if nesterov else [[shrunk + rho, -rho], [1, 0]]
        return float(np.abs(np.linalg.eigvals(np.array(matrix))).max())

    rates = bounded(Rates(1e9, momentum), largest, nesterov=nesterov)
    assert rates.momentum == min(momentum, 0.99)
    for eigenvalue in np.geomspace(1e-6, largest, 300):
        assert radius(rates, eigenvalue) <= 1 + 1e-7
    assert radius(rates._replace(learning_rate=1.01 * rates.learning_rate), largest) > 1
    below = Rates(1e-3, 0.3)
    assert bounded(below, largest, nesterov=nesterov) == below


def test_the_spike_of_directions_without_curvature_is_dropped() -> None:
    assert extremes(spectrum([0.0, 1.0, 2.0, 8.0], [0.9, 0.04, 0.03, 0.03]), renormalise=True) == (8.0, 1.0)
    assert extremes(spectrum([0.0, 1.0, 2.0, 8.0], [0.4, 0.2, 0.2, 0.2]), renormalise=True) == (8.0, 0.0)
    chain = spectrum([0.0, 1.0, 2.0, 8.0], [0.8, 0.15, 0.02, 0.03])
    assert extremes(chain, renormalise=True) == (8.0, 2.0)  # the second has 0.15 of the remaining 0.2
    assert extremes(chain, renormalise=False) == (8.0, 1.0)
    assert extremes(spectrum([1.0, 8.0], [0.1, 0.9]), renormalise=True) == (8.0, 1.0)
    assert extremes(spectrum([3.0], [1.0]), renormalise=True) == (3.0, 3.0)


def test_spectra_without_spread_have_rates_and_none_at_all_has_none() -> None:
    assert rates_of([spectrum([4.0], [1.0])], "polyak") == Rates(0.25, 0.0)
    assert rates_of([spectrum([4.0], [1.0])], "nesterov") == Rates(0.25, 0.0)
    assert rates_of([spectrum([0.0, 0.0], [0.5, 0.5])], "polyak") is None
    assert rates_of([spectrum([1.0, 4.0], [0.5, 0.5], 9.0)], "cauchy") == Rates(0.5, 0.0)  # at most 2 / L
    mean = rates_of([spectrum([0.2, 20.0], [0.4, 0.1]), spectrum([0.0, 12.0], [0.4, 0.1])], "polyak")
    assert mean == pytest.approx((0.21471, 0.72841), abs=1e-5)


class Quadratic(nn.Module):
    """½ Σ λ x², of which nine in ten directions are flat."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.ones(1600, dtype=torch.float64))
        self.register_buffer("values", torch.tensor([0.0] * 1440 + [0.5, 2.0, 4.0, 8.0] * 40, dtype=torch.float64))

    def forward(self) -> Tensor:
        return 0.5 * (self.values * self.x**2).sum()


def measured_on(network: nn.Module, rule: Rule) -> tuple[CurvatureRates, Player]:
    player = Player("classifier", network, lambda one: torch.optim.SGD(one.parameters(), 1.0), 1.0)

    def losses(name: PlayerName, halves: Sequence[int], network: Callable[..., Any] | None = None) -> Tensor:
        return player.network()

    method = CurvatureRates(rule=rule)
    method.start({"classifier": player}, losses)
    return method, player


@pytest.mark.parametrize(("rule", "nesterov"), [("polyak", False), ("nesterov", True), ("ssgd", False)])
def test_it_measures_a_spectrum_most_of_which_is_zero_and_sets_the_optimiser(rule: Rule, nesterov: bool) -> None:
    method, player = measured_on(Quadratic(), rule)
    rates = method.rates["classifier"]
    expected = bounded(unbounded(rule, 8.0, 0.5, median=2.0, cauchy=1.0), 8.0, nesterov=nesterov)
    assert tuple(rates) == pytest.approx(tuple(expected), rel=1e-6)
    method.begin({"classifier": player}, Progress())
    [group] = player.optimizer.param_groups
    assert group["momentum"] == rates.momentum
    assert group["nesterov"] is nesterov
    assert method.learning_rate_factor(player, Progress()) * player.learning_rate == rates.learning_rate


def test_a_loss_that_is_not_finite_leaves_the_rates_alone() -> None:
    network = Quadratic()
    network.values[3] = float("nan")
    method, player = measured_on(network, "polyak")
    assert method.rates == {}
    assert method.learning_rate_factor(player, Progress()) == 1.0


SGD: dict[str, Any] = {"kind": "sgd", "learning_rate": 0.01}
LEARNER: dict[str, Any] = {"kind": "curvature", "every": 128, "steps": 4, "batches": 1}
ON_D = {**LEARNER, "players": ["discriminator"]}
SPHERE = {"kind": "sphere", "players": ["discriminator"]}
GAN: dict[str, Any] = {"generator_optimizer": SGD, "discriminator_optimizer": SGD, "methods": [LEARNER]}


def test_a_broken_gan_run_ends_with_the_bits_of_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    recipe.fit(tiny(unbroken, **GAN))
    with pytest.raises(PowerCutError):
        fit_with(monkeypatch, At(208, power_cut), broken, **GAN)
    recipe.fit(tiny(broken, **GAN))
    assert final_files(broken) == final_files(unbroken)
    state = json.loads((unbroken / "tiny" / "checkpoint-480" / "state.json").read_text())
    remembered = load_file(unbroken / "tiny" / "checkpoint-480" / "curvature.safetensors")
    assert remembered["measured_at"] == 384
    for index, name in enumerate(("generator", "discriminator")):
        [group] = state["optimizer_groups"][f"{name}_optimizer"]
        assert group["momentum"] == remembered["rates"][index, 1]
        assert remembered["rates"][index, 0] > 0
    learned = [record["discriminator_learning_rate"] for record in read_metrics(unbroken / "tiny" / "metrics.jsonl")]
    assert len(set(learned)) > 1


def test_a_broken_classifier_run_ends_with_the_bits_of_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"methods": [{**LEARNER, "rule": "nesterov"}]}
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    classifier_recipe.fit(tiny_classifier(unbroken, **changes))

    with pytest.raises(PowerCutError):
        CLASSIFIER.fit_with(monkeypatch, At(208, power_cut), broken, **changes)
    classifier_recipe.fit(tiny_classifier(broken, **changes))
    assert final_files(broken) == final_files(unbroken)


@pytest.mark.parametrize("rule", ["polyak", "nesterov"])
def test_its_iterations_read_nothing_on_the_host_and_are_captured_anew(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[HostFreeEngine] = []

    def build(_: str, iteration: Callable[[Any, Any], None], **__: Any) -> HostFreeEngine:
        engines.append(HostFreeEngine(iteration))
        return engines[-1]

    monkeypatch.setattr("gconv_gan.training.loop.build_engine", build)
    recipe.fit(tiny(tmp_path, **{**GAN, "methods": [{**LEARNER, "rule": rule}]}))
    assert len(engines) == 4
    assert all(one.calls for one in engines)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": [LEARNER]}, r'methods\.0\.kind = "curvature" sets the momentum, which generator_optimizer\.kind = "adam" lacks'),
        (
            {"generator_optimizer": SGD, "methods": [LEARNER]},
            r'sets the momentum, which discriminator_optimizer\.kind = "adam" lacks: use kind = "sgd" there',
        ),
        (
            {"discriminator_optimizer": {**SGD, "momentum": 0.0, "weight_decay": 0.0}, "methods": [ON_D, SPHERE]},
            r'methods\.0\.kind = "curvature" sets the momentum, which methods\.1\.kind = "sphere" needs to be 0: leave one of them out',
        ),
        ({**GAN, "methods": [{**LEARNER, "players": ["classifier"]}]}, r"curvature\.players: the run has no classifier, but generator and"),
    ],
)
def test_what_it_cannot_set_is_refused_in_one_sentence(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe.fit(tiny(tmp_path, **changes))
    assert not (tmp_path / "tiny").exists()


def test_a_measurement_leaves_no_trace(tmp_path: Path) -> None:
    short = {"trainer": {"total_images": 32, "checkpoint_every": 32}}
    recipe.fit(tiny(tmp_path, **{**GAN, "methods": []}, **short))
    task = trained_task(tmp_path / "tiny").task
    for player in task.players.values():
        for _, parameter in player.parameters:
            parameter.grad = torch.full_like(parameter, 2.5)
    held = [
        tensor
        for player in task.players.values()
        for tensor in (*player.network.parameters(), *player.network.buffers(), *(parameter.grad for _, parameter in player.parameters))
        if tensor is not None
    ]
    before, state = [tensor.clone() for tensor in held], torch.get_rng_state()
    method = CurvatureRates(steps=3, batches=2)
    method.start(task.players, task.losses)
    assert method.rates.keys() == {"generator", "discriminator"}
    assert all(torch.equal(tensor, value) for tensor, value in zip(held, before, strict=True))
    assert all(torch.equal(parameter.grad, torch.full_like(parameter, 2.5)) for _, parameter in task.players["generator"].parameters)
    assert torch.equal(torch.get_rng_state(), state)
    again = CurvatureRates(steps=3, batches=2)
    again.start(task.players, task.losses)
    assert again.rates == method.rates


def test_one_player_may_be_chosen(tmp_path: Path) -> None:
    short = {"trainer": {"total_images": 64, "checkpoint_every": 64}}
    recipe.fit(tiny(tmp_path, discriminator_optimizer=SGD, methods=[ON_D], **short))
    state = json.loads((tmp_path / "tiny" / "checkpoint-64" / "state.json").read_text())
    assert "momentum" not in state["optimizer_groups"]["generator_optimizer"][0]
    assert state["optimizer_groups"]["discriminator_optimizer"][0]["momentum"] > 0
