"""Taylor pruning: exact scores on small losses, the ranking, and whole runs that are cut, killed, resumed, scored and exported."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import gconv_gan
from gconv_gan.commands import export as export_recipe
from gconv_gan.commands.exported import load_exported
from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from gconv_gan.methods.method import Player, PlayerName, Progress
from gconv_gan.methods.surgery import Reading, Units, cut, hold, macs_of
from gconv_gan.methods.taylor import TaylorPruning, averaged, ranking, second_order
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from gconv_gan.models.classifiers.vgg import VGG
from gconv_gan.models.factory import build_generator
from gconv_gan.optim.ema import Ema
from gconv_gan.training import engine
from tests.reference.host_free import HostFreeEngine
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

# ---- the estimate --------------------------------------------------------------------------------------------------


def chain() -> tuple[nn.Module, Units, Tensor]:
    """Two convolutions and a mean, in float64; a unit is a channel between them."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1)).double()
    return network, Units({"0": {"outputs": [*range(5)]}, "2": {"inputs": [*range(5)]}}), torch.randn(2, 3, 6, 6).double()


def oracle(network: nn.Module, units: Units, x: Tensor, loss: Any, unit: int) -> Tensor:
    """(E - E without the unit)²."""
    full = loss(network(x)).detach()
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    hold(network, units, [unit])
    without = loss(network(x)).detach()
    network.load_state_dict(kept)
    result: Tensor = (full - without).square()
    return result


def test_the_first_order_is_exact_where_the_loss_is_linear() -> None:
    network, units, x = chain()
    network(x).mean().backward()
    found = Reading(network, units).gradient().square()
    expected = torch.stack([oracle(network, units, x, Tensor.mean, unit) for unit in range(5)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_second_order_is_exact_where_the_loss_is_quadratic() -> None:
    network, units, x = chain()

    def square(y: Tensor) -> Tensor:
        return (y - 0.3).square().sum()

    found = second_order(network, Reading(network, units), lambda one: square(one(x)), range(5))
    expected = torch.stack([oracle(network, units, x, square, unit) for unit in range(5)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (first,) = torch.autograd.grad(square(network(x)), network[2].weight)  # type: ignore[index]
    inexact = (first * network[2].weight).sum((0, 2, 3)).square()  # type: ignore[index]
    assert not torch.allclose(inexact, expected, rtol=0.1)


def test_scores_are_averaged_over_removals_from_the_first_value_on() -> None:
    average = torch.zeros(2)
    for step, new in enumerate((torch.tensor([1.0, 4.0]), torch.tensor([2.0, 0.0]), torch.tensor([0.0, 10.0]))):
        average = averaged(average, new, 0.9, first=step == 0)
    torch.testing.assert_close(average, torch.tensor([0.99, 4.24]))


def test_equal_scores_go_in_the_order_of_the_network() -> None:
    assert ranking(torch.tensor([0.0, 3.0, 0.0, 1.0, 0.0])) == [0, 2, 4, 3, 1]


# ---- the schedule --------------------------------------------------------------------------------------------------


def unused(player: PlayerName, halves: Any, network: Any = None) -> Tensor:
    """Losses that a first-order estimate does not ask for."""
    raise AssertionError(player)


class Schedule:
    """A method on one small classifier whose gradients are given."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        network = VGG(depths=(1, 1, 1, 1, 1), widths=(4, 4, 4, 4, 4), hidden=())
        network.image_size = 32
        sgd = lambda one: torch.optim.SGD(one.parameters(), 0.1, momentum=0.9, weight_decay=0.1)  # noqa: E731
        self.player = Player("classifier", network, sgd, 0.1, build_average=lambda one: Ema(one, half_life_images=10))
        self.players: dict[PlayerName, Player] = {"classifier": self.player}
        self.method = TaylorPruning(every=10, units_per_step=3, **options)
        self.names = [name for name, _ in network.named_parameters()]
        self.method.check({"classifier": network})
        self.images = 0

    @property
    def scores(self) -> nn.Module:
        return self.method.state()["taylor_classifier"]

    def step(self) -> bool:
        self.method.begin(self.players, Progress(self.images))
        self.player.optimizer.zero_grad()
        self.player.network(torch.randn(4, 3, 32, 32)).logsumexp(1).mean().backward()
        self.method.after_backward(self.player)
        self.player.optimizer.step()
        self.method.after_step(self.player)
        self.images += 5
        return self.method.between(self.players, Progress(self.images), unused)


def test_every_removal_takes_its_number_of_units_until_the_share_is_reached() -> None:
    run = Schedule(removed=0.4)  # 8 of 20
    counts, changed = [], []
    for _ in range(7):
        changed.append(run.step())
        counts.append(int(run.scores.removed.sum()))
    assert counts == [0, 3, 3, 6, 6, 8, 8]
    assert changed == [False, True, False, False, False, True, False]  # the first removal, and the cut


def test_equal_scores_remove_no_more_than_was_asked_for() -> None:
    run = Schedule(removed=0.4)
    run.step()
    run.scores.accumulated.zero_()
    run.player.network.zero_grad()
    run.method.after_backward = lambda player: None  # type: ignore[method-assign]
    run.step()
    assert run.scores.removed.nonzero()[:, 0].tolist() == [0, 1, 2]


def test_held_units_stay_at_zero_under_momentum_and_decay_and_have_no_gradient() -> None:
    run = Schedule(removed=0.4)
    for _ in range(3):
        run.step()
    removed = run.scores.removed.nonzero()[:, 0].tolist()
    units = run.method._pruned["classifier"].units
    again = {name: tensor.clone() for name, tensor in run.player.network.state_dict().items()}
    average = {name: tensor.clone() for name, tensor in run.player.tested.state_dict().items()}
    hold(run.player.network, units, removed)
    hold(run.player.tested, units, removed)
    assert all(torch.equal(again[name], tensor) for name, tensor in run.player.network.state_dict().items())
    assert all(torch.equal(average[name], tensor) for name, tensor in run.player.tested.state_dict().items())
    for unit in removed:
        layer = next(name for name, axis in units.slots() if axis == "outputs" and unit in units.of(name, axis) and name.endswith("conv"))
        weight = run.player.network.get_parameter(f"{layer}.weight")
        row = units.of(layer, "outputs").index(unit)
        assert not weight[row].any()
        assert weight.grad is not None
        assert torch.equal(weight.grad[row], weight[row])


def test_no_parameter_is_added_and_no_state_of_an_optimiser_outlives_its_parameter() -> None:
    run = Schedule(removed=0.4)
    for _ in range(6):
        run.step()
    network, optimizer = run.player.network, run.player.optimizer
    assert [name for name, _ in network.named_parameters()] == run.names
    alive = set(network.parameters())
    assert {parameter for group in optimizer.param_groups for parameter in group["params"]} == alive
    assert not optimizer.state
    run.step()
    assert set(optimizer.state) == alive
    assert all(state["momentum_buffer"].shape == parameter.shape for parameter, state in optimizer.state.items())


def test_the_cut_keeps_the_average_and_the_functions_of_both() -> None:
    run = Schedule(removed=0.4)
    for _ in range(5):
        run.step()
    x = torch.randn(2, 3, 32, 32)
    run.method._pruned["classifier"].steps = 10  # nothing more is removed before the comparison
    run.player.network.eval()
    one = run.method._pruned["classifier"]
    removed, before = one.removed, (run.player.network(x), run.player.tested(x))
    assert not torch.allclose(*before)
    run.method._cut(one, run.player)
    assert one.cut == removed
    run.player.network.eval()
    torch.testing.assert_close(run.player.network(x), before[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(run.player.tested(x), before[1], rtol=0, atol=1e-5)


def test_a_target_of_multiply_adds_is_met_with_as_few_units_as_possible() -> None:
    run = Schedule(macs=0.5)
    pruned = run.method._pruned["classifier"]
    while not pruned.done:
        before = set(pruned.removed)
        run.step()
    assert 0.35 < run.method._share(pruned, run.player, ()) <= 0.5
    last = max(pruned.removed - before, key=lambda unit: float(pruned.scores.average[unit]))
    torch.manual_seed(0)
    network = VGG(depths=(1, 1, 1, 1, 1), widths=(4, 4, 4, 4, 4), hidden=())
    network.image_size = 32
    cut(network, pruned.units, pruned.removed - {last})
    pruned.cut = pruned.removed - {last}
    pruned.removed = set(pruned.cut)
    assert run.method._share(pruned, Player("classifier", network, run.player.build_optimizer, 0.1), ()) > 0.5


# ---- whole runs ----------------------------------------------------------------------------------------------------

PRUNED: dict[str, Any] = {"kind": "taylor", "every": 80, "units_per_step": 20, "removed": 0.4}


def interrupted(folder: Path, at: int) -> None:
    """Make a finished run one that was killed after its checkpoint at ``at`` images."""
    for checkpoint in (folder / "tiny").glob("checkpoint-*"):
        if int(checkpoint.name.split("-")[1]) > at:
            shutil.rmtree(checkpoint)


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize(("cut_at", "at"), [("end", 160), ("step", 160), ("end", 320)])
def test_a_pruned_gan_that_was_killed_ends_with_the_same_bits(cut_at: str, at: int, tmp_path: Path) -> None:
    def config() -> Any:
        return tiny(tmp_path, generator={"width": 16}, methods=[{**PRUNED, "cut": cut_at}])

    recipe.fit(config())
    expected = final_files(tmp_path)
    assert json.loads(expected["state.json"])["methods"][0]["facts"].keys() == {"generator", "discriminator"}
    interrupted(tmp_path, at)
    recipe.fit(config())
    assert {name: data for name, data in final_files(tmp_path).items() if "state" not in name} == {
        name: data for name, data in expected.items() if "state" not in name
    }


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_pruned_classifier_is_read_by_everyone(tmp_path: Path) -> None:
    def config() -> Any:
        return tiny_classifier(tmp_path, methods=[PRUNED])

    classifier_recipe.fit(config())
    folder = tmp_path / "tiny"
    tensors = load_file(folder / "model.safetensors")
    interrupted(tmp_path, 160)
    classifier_recipe.fit(config())
    again = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)
    assert tensors["network.trunk.stage3.0.branch.conv1.weight"].shape[0] < 64
    network = load_classifier(folder)[0]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_pruned_generator_is_scored_sampled_exported_and_converted(tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, generator={"width": 16}, methods=[{**PRUNED, "players": ["generator"], "macs": 0.6}]))
    run = load_run(tmp_path / "tiny")
    z, y = torch.randn(3, 6), torch.tensor([1, 2, 3])
    images = run.generator()(z, y)
    assert macs_of("generator", run.generator()) <= 0.6 * macs_of(
        "generator", build_generator(run.config.generator, image_size=8, num_classes=10)
    )
    folder = export_recipe.export(export_recipe.ExportCommand(run=str(tmp_path / "tiny"), out=str(tmp_path / "export")))
    assert (folder / "generator.onnx").exists()
    assert torch.equal(load_exported(folder)[0](z, y), images)
    model = gconv_gan.load(tmp_path / "tiny")
    assert torch.equal(model.sample(4, seed=0), gconv_gan.load(folder).sample(4, seed=0))


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_pruned_iteration_is_free_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[HostFreeEngine] = []

    def build(iterate: Any) -> HostFreeEngine:
        engines.append(HostFreeEngine(iterate))
        return engines[-1]

    monkeypatch.setattr(engine, "EagerEngine", build)
    recipe.fit(tiny(tmp_path, methods=[{**PRUNED, "removed": 0.2, "units_per_step": 4}], trainer={"total_images": 320}))
    assert len(engines) == 3  # until the first removal, with held units, and after the cut
    assert all(one.calls for one in engines)


@pytest.mark.parametrize(
    ("options", "method", "sentence"),
    [
        ({}, {"players": ["classifier"]}, "taylor acts on the classifier, but the run has generator and discriminator"),
        (
            {"generator": {"conv": {"kind": "invariant"}}},
            {},
            "taylor cannot remove channels of the generator: blocks.0.conv1: InvariantConv2d normalises its input channels together",
        ),
        ({}, {"removed": 1.5}, r"methods\.0\.removed: .*less than or equal to 1"),
    ],
)
def test_what_cannot_be_pruned_is_refused_in_one_sentence(
    options: dict[str, Any], method: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe.fit(tiny(tmp_path, methods=[{"kind": "taylor", **method}], **options))
    assert not (tmp_path / "tiny").exists()
