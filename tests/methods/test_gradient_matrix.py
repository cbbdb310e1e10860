"""Gradient-matrix pruning, a reconstruction: ranks, repair and guard on planted networks, and whole runs that are killed and read."""

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import gconv_gan
from gconv_gan.commands import export as export_recipe
from gconv_gan.commands.exported import load_exported
from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from gconv_gan.experiments.plants import planted
from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.methods.gradient_matrix import (
    Estimate,
    GradientMatrixPruning,
    Layer,
    Matrix,
    Survivors,
    layers_of,
    measure,
    removable,
    removal,
    repair,
    report,
)
from gconv_gan.methods.method import Player, PlayerName, Progress
from gconv_gan.methods.surgery import Units, cut, macs_of, parts_of, units_of
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from gconv_gan.models.classifiers.conv_net import ConvNet
from gconv_gan.models.factory import build_generator
from gconv_gan.optim.ema import Ema
from tests.methods.test_surgery import inputs_of, made
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

# ---- planted networks ----------------------------------------------------------------------------------------------


def chain(plant: str = "duplicates and dead") -> nn.Module:
    """A network of two convolutions and a head, with channels planted between the convolutions."""
    torch.manual_seed(0)
    network = ConvNet(widths=(12, 24), pool_size=2, parts=Parts(norm=None))
    nn.init.normal_(network.trunk.unit1[0].bias, std=0.1)  # type: ignore[union-attr,index,operator]
    result = planted(network, plant).eval()
    result.image_size = 16
    return result


def batches(network: nn.Module, *, count: int = 20, factor: float = 1.0) -> list[Callable[[], Tensor]]:
    draws = torch.Generator().manual_seed(1)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return factor * cross_entropy(network(x), y)

    return [partial(loss, torch.randn(16, 3, 16, 16, generator=draws), torch.randint(10, (16,), generator=draws)) for _ in range(count)]


def first(network: nn.Module, units: Units, before: Sequence[int] = ()) -> Layer:
    return layers_of(network, units, before)[0]


def estimated(network: nn.Module, **options: Any) -> tuple[Units, Estimate]:
    units = units_of("test", "classifier", network)
    return units, measure([first(network, units)], batches(network, **options))[0]


def test_planted_duplicates_and_dead_filters_leave_the_rank_of_the_others_behind_a_gap() -> None:
    _, one = estimated(chain())
    assert one.size == 20
    assert one.ranks("threshold", 1e-3) == (12, 15)
    assert one.rank() == one.rank("energy") == 12
    assert one.incoming.singular_values[11] > 1e3 * one.incoming.singular_values[12]
    assert one.redundancy() == pytest.approx(0.4)


def test_a_linear_dependence_between_maps_is_seen_on_the_outgoing_side() -> None:
    _, one = estimated(chain("linear dependence"))
    assert (one.size, *one.ranks("threshold", 1e-3)) == (18, 18, 17)


def test_ranks_depend_neither_on_the_scale_of_the_loss_nor_on_the_order_of_the_filters() -> None:
    network = chain()
    _, one = estimated(network)
    _, scaled = estimated(network, factor=1e-3)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    first_conv, second_conv = network.trunk.unit1[0], network.trunk.unit2[0]  # type: ignore[union-attr,index]
    with torch.no_grad():
        first_conv.weight.copy_(first_conv.weight[order].clone())  # type: ignore[union-attr,operator,index]
        first_conv.bias.copy_(first_conv.bias[order].clone())  # type: ignore[union-attr,operator,index]
        second_conv.weight.copy_(second_conv.weight[:, order].clone())  # type: ignore[union-attr,operator,index]
    _, permuted = estimated(network)
    for threshold in (1e-2, 1e-3, 1e-4):
        ranks = one.ranks("threshold", threshold)
        assert scaled.ranks("threshold", threshold) == permuted.ranks("threshold", threshold) == ranks
    assert scaled.rank("energy") == permuted.rank("energy") == one.rank("energy")
    np.testing.assert_allclose(scaled.incoming.gram * 1e6, one.incoming.gram, rtol=1e-4, atol=1e-5 * one.incoming.gram.max())


def test_a_filter_that_nothing_reads_has_a_row_of_zeros_and_overlapping_filters_have_parallel_rows() -> None:
    _, one = estimated(chain())
    gram = one.incoming.gram
    assert not gram[17:].any()
    assert gram[:17].any(1).all()
    for k in range(5):  # the copies are channels 12 to 16
        assert abs(gram[k, 12 + k]) / np.sqrt(gram[k, k] * gram[12 + k, 12 + k]) >= 1 - 1e-6
    assert abs(gram[0, 1]) / np.sqrt(gram[0, 0] * gram[1, 1]) < 0.99


def without(network: nn.Module, units: Units, one: Estimate, rows: Sequence[int], *, repaired: bool = True) -> nn.Module:
    result = copy.deepcopy(network)
    if repaired:
        repair(first(result, units), removal([one], 0, rows))
    cut(result, units, [one.layer.units[row] for row in rows])
    return result


@torch.no_grad()
def change(network: nn.Module, other: nn.Module) -> float:
    x = torch.randn(50, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    return float((network(x) - other(x)).abs().max())


@pytest.mark.parametrize("survivors", ["pivots", "taylor"])
@pytest.mark.parametrize("plant", ["duplicates and dead", "scaled copies", "linear dependence"])
def test_a_repaired_removal_to_the_rank_changes_nothing_and_one_more_does(plant: str, survivors: Survivors) -> None:
    network = chain(plant)
    units, one = estimated(network)
    rows = removable(units, one, (), survivors)
    assert len(rows) == one.size - one.rank()
    if survivors == "pivots":
        assert change(network, without(network, units, one, rows)) <= 1e-4
        more = [*rows, next(row for row in reversed(one.order("pivots", "threshold", 1e-3)) if row not in rows)]
        assert change(network, without(network, units, one, more)) >= 1e-2
    else:
        scores = one.scores
        assert scores[rows].max() <= np.delete(scores, rows).min()


def test_without_the_repair_a_duplicate_takes_its_part_of_the_function_away() -> None:
    network = chain()
    units, one = estimated(network)
    assert change(network, without(network, units, one, removable(units, one, ()), repaired=False)) >= 1e-2


def test_no_sequence_of_removals_passes_the_rank() -> None:
    network = chain("both kinds")
    units, removed, sizes = units_of("test", "classifier", network), list[int](), [24]
    original = copy.deepcopy(network)
    while True:
        one = measure([first(network, units, removed)], batches(network))[0]
        rows = removable(units, one, removed)
        assert len(rows) <= one.size - one.rank()
        if not rows:
            break
        repair(one.layer, removal([one], 0, rows))
        cut(network, units, [one.layer.units[row] for row in rows], before=removed)
        removed += [one.layer.units[row] for row in rows]
        sizes.append(one.size - len(rows))
    assert sizes == [24, 18, 17]
    assert change(original, network) <= 1e-4


def test_the_rank_of_a_matrix_of_zeros_is_zero_and_the_energy_rule_counts_squares() -> None:
    assert Matrix(np.zeros((3, 3))).rank(1e-3) == Matrix(np.zeros((3, 3))).energy_rank() == 0
    one = Matrix(np.diag([1.0, 0.01, 4e-4, 1e-8]))
    assert (one.rank(1e-2), one.rank(1e-3), one.energy_rank()) == (3, 3, 2)
    np.testing.assert_allclose(one.singular_values, [1, 0.1, 0.02, 1e-4])
    np.testing.assert_allclose(one.root.T @ one.root, one.gram, atol=1e-15)


def test_pivots_and_least_squares_are_those_of_the_matrix() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 40)) * [[1], [3], [2], [0.5], [1]]
    rows[4] = 2 * rows[0] - rows[3]
    one = Matrix(rows @ rows.T)
    pivots = one.pivots()
    assert pivots[0] == np.linalg.norm(rows, axis=1).argmax()
    assert sorted(pivots) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(one.combination([0, 1, 2, 3], [4]), [[2], [0], [0], [-1]], atol=1e-6)
    assert one.rank(1e-6) == 4


def test_the_report_has_every_threshold_and_calls_itself_an_estimate_and_a_reconstruction() -> None:
    _, one = estimated(chain())
    said = report([one])
    assert "estimate of r (reconstruction)" in said
    for column in ("τ = 0.01", "τ = 0.001", "τ = 0.0001", "99.9 %"):
        assert column in said
    assert said.splitlines()[1].split() == ["trunk.unit1.conv", "20", "12", "12", "12", "12", "12", "15"]


# ---- any network ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "plain chain",
        "wide residual",
        "selective kernels",
        "ghosts",
        "dcgan",
        "dcgan, gconv",
        "sngan, dictionary",
        "sngan, bank",
        "sngan, filter gates",
        "skip",
    ],
)
def test_a_copied_channel_of_any_layer_is_found_and_removed_without_a_change(name: str) -> None:
    player, network = made(name)
    inputs = inputs_of(player, network)
    units = units_of("test", player, network.float())
    network.double()
    draws = torch.Generator().manual_seed(2)
    target = torch.randn(network(*inputs).shape, generator=draws).double()

    def loss(number: int) -> Tensor:
        shifted = [one if one is None or not one.is_floating_point() else one.roll(number, -1) * (1 + number / 7) for one in inputs]
        value: Tensor = (network(*shifted) * target.roll(number, -1)).square().mean()
        return value

    layers = layers_of(network, units)
    assert {unit for layer in layers for unit in layer.units} <= set(range(len(units)))
    for index in sorted({0, len(layers) // 2, len(layers) - 1}):
        before = copy.deepcopy(network.state_dict())
        one, other = layers[index].units[:2]
        with torch.no_grad():
            for part, of in parts_of(network, units, ()):
                if not part.reads:
                    places = [[place for place, unit in enumerate(of) if unit == number] for number in (one, other)]
                    along = part.tensor.movedim(part.dim, 0)
                    along[places[1]] = along[places[0]].clone()
        network.train(False)
        expected = network(*inputs)
        numbers = range(max(4, layers[index].batches_needed()))
        estimate = measure([layers[index]], [partial(loss, number) for number in numbers])[0]
        assert estimate.outgoing.rank(1e-6) < estimate.size, layers[index].name
        without_it = copy.deepcopy(network)
        repair(layers_of(without_it, units)[index], removal([estimate], 0, [1]))
        cut(without_it, units, [other])
        torch.testing.assert_close(without_it(*inputs), expected, rtol=0, atol=1e-6 * float(expected.detach().abs().max()))
        network.load_state_dict(before)


# ---- the method on a player ----------------------------------------------------------------------------------------


def test_a_removal_keeps_the_functions_of_the_network_and_of_its_average_and_training_goes_on_with_a_new_optimiser() -> None:
    network = chain()
    sgd = lambda one: torch.optim.SGD(one.parameters(), 0.1, momentum=0.9)  # noqa: E731
    player = Player("classifier", network, sgd, 0.1, build_average=lambda one: Ema(one, half_life_images=10))
    players: dict[PlayerName, Player] = {"classifier": player}
    method = GradientMatrixPruning(every=10, batches=20)
    method.check({"classifier": network})
    draws = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 16, 3, 16, 16, generator=draws), torch.randint(10, (40, 16), generator=draws)
    asked: list[int] = []

    def losses(name: PlayerName, halves: Sequence[int], stand_in: Callable[..., Any] | None = None) -> Tensor:
        assert stand_in is not None
        network.train()
        asked.append(halves[0] // 2)
        return cross_entropy(stand_in(x[halves[0] // 2]), y[halves[0] // 2])

    old = set(network.parameters())
    outputs = network.eval()(x[0]), player.tested.eval()(x[0])
    method.begin(players, Progress(0))
    assert not method.between(players, Progress(9), losses)
    assert not asked
    method.begin(players, Progress(9))
    assert method.between(players, Progress(10), losses)
    assert set(asked) == set(range(20))
    facts = json.loads(json.dumps(method.facts()))["classifier"]
    assert facts["removals"][0] | {"loss_before": 0, "loss_after": 0} == {
        "images": 10, "layer": "trunk.unit1.conv", "channels": 20, "removed": 8, "loss_before": 0, "loss_after": 0,
        "unmeasured": [],
    }  # fmt: skip
    assert facts["removals"][0]["loss_after"] == pytest.approx(facts["removals"][0]["loss_before"], abs=1e-5)
    torch.testing.assert_close(player.network.eval()(x[0]), outputs[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(player.tested.eval()(x[0]), outputs[1], rtol=0, atol=1e-4)
    assert {parameter for group in player.optimizer.param_groups for parameter in group["params"]} == set(network.parameters())
    assert old != set(network.parameters())
    assert method.summary("classifier", method.facts()) == "8 of 44 units removed by a reconstruction of gradient-matrix pruning"
    assert method.status() == {"channels_left_c": 1 - 8 / (20 + 24)}
    asked.clear()
    method.begin(players, Progress(10))
    assert not method.between(players, Progress(20), losses)  # no layer is redundant any more
    assert set(asked) == set(range(20, 40))
    asked.clear()
    method.begin(players, Progress(20))
    assert not method.between(players, Progress(30), losses)
    assert not asked


def on_player(network: nn.Module, *, flat: Sequence[int] = (), **options: Any) -> Callable[[int], bool]:
    """Return ``act(images)`` of the method on a network: whether it removed channels; the loss has no gradient in the batches ``flat``."""
    player = Player("classifier", network, lambda one: torch.optim.SGD(one.parameters(), 0.1), 0.1)
    method = GradientMatrixPruning(every=10, **options)
    method.check({"classifier": network})
    draws = torch.Generator().manual_seed(1)
    x, y = torch.randn(100, 16, 3, 16, 16, generator=draws), torch.randint(10, (100, 16), generator=draws)

    def losses(name: PlayerName, halves: Sequence[int], stand_in: Callable[..., Any] | None = None) -> Tensor:
        number = halves[0] // 2
        assert stand_in is not None
        return cross_entropy(stand_in(x[number]), y[number]) * (0 if number in flat else 1)

    def act(images: int) -> bool:
        method.begin({"classifier": player}, Progress(images - 5))
        changed = method.between({"classifier": player}, Progress(images), losses)
        seen.update(method.status(), facts=method.facts())
        return changed

    seen: dict[str, Any] = {}
    act.seen = seen  # type: ignore[attr-defined]
    return act


def test_a_loss_without_gradients_removes_nothing_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    act = on_player(chain(), flat=range(20), batches=20)
    assert not act(10)
    assert "trunk.unit1.conv is not estimated: its gradients are zero" in capsys.readouterr().out.splitlines()
    assert act.seen["unmeasured_layers_c"] == 2  # type: ignore[attr-defined]
    assert act(20)
    assert "unmeasured_layers_c" not in act.seen["facts"]  # type: ignore[attr-defined]
    assert act.seen["facts"]["classifier"]["removals"][0]["removed"] == 8  # type: ignore[attr-defined]


def test_a_layer_that_becomes_too_narrow_for_its_batches_is_named_and_keeps_its_channels(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 32, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)
    )
    network.image_size = 16  # type: ignore[assignment]
    with torch.no_grad():
        for tensor in network[0].parameters():
            tensor[4:] = tensor[:4].clone()
    act = on_player(network, batches=16, threshold=1e-6)
    assert act(10)
    assert "keeps its channels" not in capsys.readouterr().out
    assert not act(20)
    assert "2 keeps its channels: its rank needs 32 batches" in capsys.readouterr().out.splitlines()
    assert act.seen["unmeasured_layers_c"] == 1  # type: ignore[attr-defined]


def test_nothing_is_estimated_before_the_first_images(capsys: pytest.CaptureFixture[str]) -> None:
    act = on_player(chain(), batches=20, first=15)
    assert not act(10)
    assert not act(20)
    assert "estimate" not in capsys.readouterr().out
    assert act(25)
    assert "gradient-matrix reconstruction, classifier, 25 images" in capsys.readouterr().out


# ---- whole runs ----------------------------------------------------------------------------------------------------

PRUNED: dict[str, Any] = {"kind": "gradient_matrix", "every": 160, "batches": 26, "threshold": 0.05}


def interrupted(folder: Path, at: int) -> None:
    """Make a finished run one that was killed after its checkpoint at ``at`` images."""
    for checkpoint in (folder / "tiny").glob("checkpoint-*"):
        if int(checkpoint.name.split("-")[1]) > at:
            shutil.rmtree(checkpoint)


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_pruned_gan_that_was_killed_ends_with_the_same_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def config() -> Any:
        return tiny(tmp_path, generator={"width": 16}, methods=[PRUNED])

    recipe.fit(config())
    assert "gradient-matrix reconstruction, discriminator, 160 images" in capsys.readouterr().out
    expected = final_files(tmp_path)
    facts = json.loads(expected["state.json"])["methods"][0]["facts"]
    assert facts.keys() == {"generator", "discriminator"}
    assert {one["images"] for one in facts["generator"]["removals"]} > {160, 320}  # before and after the loss of the process
    interrupted(tmp_path, 160)
    recipe.fit(config())
    assert {name: data for name, data in final_files(tmp_path).items() if "state" not in name} == {
        name: data for name, data in expected.items() if "state" not in name
    }
    assert json.loads(final_files(tmp_path)["state.json"])["methods"] == json.loads(expected["state.json"])["methods"]


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_pruned_classifier_is_resumed_and_read(tmp_path: Path) -> None:
    def config() -> Any:
        return tiny_classifier(tmp_path, methods=[{**PRUNED, "rule": "energy", "survivors": "taylor"}])

    classifier_recipe.fit(config())
    folder = tmp_path / "tiny"
    tensors = load_file(folder / "model.safetensors")
    interrupted(tmp_path, 160)
    classifier_recipe.fit(config())
    again = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)
    network = load_classifier(folder)[0]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())
    removals = json.loads((folder / "checkpoint-480" / "state.json").read_text())["methods"][0]["facts"]["classifier"]["removals"]
    assert len(removals) > 1
    for one in removals:
        assert tensors[f"{one['layer']}.weight"].shape[0] <= one["channels"] - one["removed"]


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_pruned_generator_meets_its_budget_and_is_sampled_exported_and_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.fit(tiny(tmp_path, generator={"width": 16}, methods=[{**PRUNED, "every": 80, "players": ["generator"], "macs": 0.8}]))
    estimates = capsys.readouterr().out.count("gradient-matrix reconstruction, generator")
    run = load_run(tmp_path / "tiny")
    z, y = torch.randn(3, 6), torch.tensor([1, 2, 3])
    images = run.generator()(z, y)
    whole = macs_of("generator", build_generator(run.config.generator, image_size=8, num_classes=10))
    assert macs_of("generator", run.generator()) <= 0.8 * whole
    facts = json.loads((tmp_path / "tiny" / "checkpoint-480" / "state.json").read_text())["methods"][0]["facts"]
    assert facts["generator"]["macs"] == whole
    assert len(facts["generator"]["removals"]) == estimates == 2  # of six: those are enough
    folder = export_recipe.export(export_recipe.ExportCommand(run=str(tmp_path / "tiny"), out=str(tmp_path / "export")))
    assert torch.equal(load_exported(folder)[0](z, y), images)
    model = gconv_gan.load(tmp_path / "tiny")
    assert torch.equal(model.sample(4, seed=0), gconv_gan.load(folder).sample(4, seed=0))


@pytest.mark.parametrize(
    ("options", "method", "sentence"),
    [
        ({}, {"players": ["classifier"]}, "gradient_matrix acts on the classifier, but the run has generator and discriminator"),
        (
            {"generator": {"conv": {"kind": "invariant"}}},
            {},
            "gradient_matrix cannot remove channels of the generator: blocks.0.conv1: InvariantConv2d normalises its input channels",
        ),
        (
            {"discriminator": {"width": 64}},
            {"players": ["discriminator"], "batches": 2},
            r"gradient_matrix: 2 batches give 54 columns for the 64 channels of blocks\.0\.conv1 in the discriminator, and 256 are needed"
            " to tell its rank: set batches to 10 or more",
        ),
        ({}, {"threshold": 0.0}, r"methods\.0\.threshold: .*greater than 0"),
    ],
)
def test_what_cannot_be_pruned_is_refused_in_one_sentence(
    options: dict[str, Any], method: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe.fit(tiny(tmp_path, methods=[{"kind": "gradient_matrix", **method}], **options))
    assert not (tmp_path / "tiny").exists()
