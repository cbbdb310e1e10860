"""LRPET: ranks and costs of the published networks, norms found by the data flow, and whole runs that are factorised and read."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import gconv_gan
from gconv_gan import parts
from gconv_gan.api import GAN
from gconv_gan.commands.exported import load_exported
from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from gconv_gan.layers.low_rank import Filters, all_filters, filters
from gconv_gan.layers.weights import channels_last
from gconv_gan.methods.low_rank import LowRankProjection, norms_behind
from gconv_gan.methods.method import Player, PlayerName, Progress
from gconv_gan.methods.surgery import example_inputs, macs_of
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from gconv_gan.models.classifiers.named import build_classifier
from gconv_gan.optim.ema import Ema
from gconv_gan.optim.optimizers import sgd
from gconv_gan.runtime.script import run_command
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training import engine
from tests.methods.test_surgery import NETWORKS, made
from tests.models.test_contract import generator
from tests.processes import run_python, run_two
from tests.reference.host_free import HostFreeEngine
from tests.training.test_two_processes import free_ports
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

ROOT = Path(__file__).parents[2]


def no_loss(player: PlayerName, halves: Sequence[int], network: Callable[..., Any] | None = None) -> Tensor:
    raise AssertionError("nothing is measured")


def player_of(network: nn.Module, *, average: bool = False, name: PlayerName = "classifier") -> Player:
    build = partial(Ema, half_life_images=10) if average else None
    optimizer = partial(sgd, learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    return Player(name, network, optimizer, 0.1, build_average=build)


def started(network: nn.Module, **options: Any) -> LowRankProjection:
    """Return the method after it has replaced the layers of a new network."""
    method = LowRankProjection(factorise_at=0, **options)
    method.check({"classifier": network})
    method.start({"classifier": player_of(network)}, no_loss)
    return method


# ---- ranks and costs -----------------------------------------------------------------------------------------------

ROWS: list[tuple[str, dict[str, Any], tuple[int, ...], int, int, int, int]] = [
    ("resnet56", {"removed": 0.80}, (3, 6, 12), 125_485_696, 26_232_448, 848_304, 177_249),
    ("resnet56", {"removed": 0.57}, (6, 13, 27), 125_485_696, 56_058_496, 848_304, 393_810),
    ("resnet56", {"removed": 0.54}, (7, 14, 29), 125_485_696, 61_927_040, 848_304, 424_813),
    ("resnet110", {"removed": 0.70}, (4, 9, 19), 252_887_680, 77_646_464, 1_719_216, 557_884),
    ("resnet110", {"removed": 0.65}, (5, 11, 22), 252_887_680, 93_781_632, 1_719_216, 654_695),
    ("resnet110", {"removed": 0.62}, (6, 12, 24), 252_887_680, 105_548_416, 1_719_216, 717_378),
    ("vgg16_cifar", {"removed": 0.915, "min_rank": 43}, (18, 43), 313_196_544, 81_287_168, 14_710_464, 1_617_062),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "ranks", "dense", "thin", "weights", "thin_weights"), ROWS)
def test_counts_are_those_of_the_published_networks(
    name: str, options: dict[str, Any], ranks: tuple[int, ...], dense: int, thin: int, weights: int, thin_weights: int
) -> None:
    network = build_classifier(name)
    if name.startswith("vgg"):
        first, *_ = (layer for layer, _ in all_filters(network))
        options = {**options, "ranks": [(first, 18)]}

    def convolutions() -> int:
        return sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv2d))

    def macs() -> int:
        # the published count of VGG has no classifier
        return macs_of("classifier", network) - (512 * 512 + 512 * 10 if name.startswith("vgg") else 0)

    assert (macs(), convolutions()) == (dense, weights)
    method = started(network, **options)
    assert (macs(), convolutions()) == (thin, thin_weights)
    assert tuple(dict.fromkeys(method.facts()["classifier"].values())) == ranks
    report = json.loads(method.files()["report.json"])["numbers"]
    assert report["classifier_macs_share"] == macs_of("classifier", network) / macs_of("classifier", build_classifier(name))


@pytest.mark.parametrize(("removed", "ranks"), [(0.80, (3, 6, 12)), (0.54, (7, 14, 29))])
def test_the_rank_is_a_share_of_the_full_rank_rounded_down(removed: float, ranks: tuple[int, ...]) -> None:
    method = LowRankProjection(removed=removed)
    layers = [filters(nn.Conv2d(channels, channels, 3)) for channels in (16, 32, 64)]
    assert tuple(method._rank("", layer, None) for layer in layers if layer is not None) == ranks


def test_the_rank_of_an_energy_is_the_least_that_has_it() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, bias=False))
    squares = torch.tensor([50.0, 25, 15, 6, 2, 1, 0.6, 0.4])
    with torch.no_grad():
        network[0].get_parameter("weight").copy_((torch.diag(squares.sqrt()) @ torch.linalg.qr(torch.randn(72, 8)).Q.T).view(8, 8, 3, 3))
    for energy, rank in ((0.4, 1), (0.74, 2), (0.76, 3), (0.95, 4), (0.97, 5)):
        twin = nn.Sequential(nn.Conv2d(8, 8, 3, bias=False))
        twin.load_state_dict(network.state_dict())
        method = LowRankProjection(energy=energy, min_rank=1, rectify=False, factorise_at=0)
        player = player_of(with_shape(twin))
        method.check({"classifier": twin})
        method.start({"classifier": player}, no_loss)
        assert method.facts() == {"classifier": {"0": rank}}
        kept = json.loads(method.files()["report.json"])["numbers"]["classifier_least_energy_kept"]
        assert kept == pytest.approx(float(squares[:rank].sum() / 100))


def with_shape(network: nn.Module) -> nn.Module:
    """Let a chain of one convolution of 8 channels take images of three, for the count of its multiply-adds."""
    network.image_size = 8  # type: ignore[assignment]
    network.register_forward_pre_hook(lambda _, inputs: inputs[0].repeat(1, 3, 1, 1)[:, :8])
    return network


def test_layers_that_would_not_become_cheaper_and_those_of_rank_0_are_left() -> None:
    network = build_classifier("resnet20")
    first, second, *_ = (layer for layer, _ in all_filters(network))
    method = started(network, removed=0.05, ranks=[(first, 0), (second, 5)])
    assert list(method.facts()["classifier"].items()) == [(second, 5)]
    depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2))  # of which a filter has rank 1 by itself
    assert list(started(with_shape(depthwise), removed=0.8, min_rank=1).facts()["classifier"]) == ["1"]
    with pytest.raises(UserError, match="makes no convolution of the classifier cheaper: remove more"):
        LowRankProjection(removed=0.05).check({"classifier": build_classifier("resnet20")})


# ---- norms ---------------------------------------------------------------------------------------------------------


def pairs(player: PlayerName, network: nn.Module) -> dict[str, str]:
    layers = {name: found.layer for name, found in all_filters(network) if isinstance(found, Filters)}
    return norms_behind(network, layers, *example_inputs(player, network))


def test_a_norm_belongs_to_the_convolution_whose_output_it_alone_reads() -> None:
    found = pairs("classifier", build_classifier("resnet20"))
    assert len(found) == 19
    assert all(norm == layer.removesuffix("conv") + "norm" for layer, norm in found.items())
    network = build_classifier("preact_resnet56", depths=(2, 2, 2))
    found = pairs("classifier", network)
    # the second convolution of a block and the stem write to a sum, which the next norm reads
    assert found == {
        f"trunk.stage{stage}.{block}.branch.conv1": f"trunk.stage{stage}.{block}.branch.preactivation2.norm"
        for stage in (1, 2, 3)
        for block in (0, 1)
    }
    convs = [name for name, _ in all_filters(network)]
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    by_order = dict(zip(convs, norms, strict=False))
    assert any(by_order[layer] != norm for layer, norm in found.items())
    assert by_order.keys() - found.keys()


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet56", "ghostnet_100_cifar"])
def test_a_factor_on_a_filter_is_undone_by_the_norm_that_was_found(name: str) -> None:
    torch.manual_seed(0)
    small = {"width": 0.25, "dropout": 0.0} if name.startswith("ghostnet") else {"depths": (1, 1, 1)}
    network = build_classifier(name, **small)
    found = pairs("classifier", network)
    network.double().train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-30
    x = torch.randn(4, 3, 32, 32).double()
    before = network(x)
    with torch.no_grad():
        for layer in found:
            network.get_submodule(layer).get_parameter("weight").mul_(3)
    torch.testing.assert_close(network(x), before, rtol=1e-8, atol=1e-8)


def test_norms_of_generators_count_where_their_scale_is_no_function_of_the_latent_vector() -> None:
    conditional = generator("resnet", conv={"kind": "gconv"})
    found = pairs("generator", conditional)
    assert found["blocks.0.conv1"] == "blocks.0.norm2"
    assert not pairs("generator", generator("biggan"))


# ---- projection of a player ----------------------------------------------------------------------------------------


def small_player() -> tuple[Player, LowRankProjection]:
    """A trained step of a small network, projected next at 10 images."""
    torch.manual_seed(0)
    player = player_of(build_classifier("convnet", widths=(8, 16, 24)), average=True)
    player.network(torch.randn(8, 3, 32, 32)).logsumexp(1).mean().backward()
    player.optimizer.step()
    assert player.average is not None
    player.average.update(torch.tensor(0.5))
    method = LowRankProjection(every=10, removed=0.7, min_rank=1)
    method.check({"classifier": player.network})
    return player, method


def test_a_projection_changes_the_filters_alone_of_the_network_and_of_its_average() -> None:
    player, method = small_player()
    tested = player.tested
    before = [{name: tensor.clone() for name, tensor in network.state_dict().items()} for network in (player.network, tested)]
    moments = [state["momentum_buffer"].clone() for state in player.optimizer.state.values()]
    players: dict[PlayerName, Player] = {"classifier": player}
    for images in (4, 8, 12):
        method.begin(players, Progress(images - 4))
        assert not method.between(players, Progress(images), no_loss)
        changed = [
            {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, kept[name])}
            for network, kept in zip((player.network, tested), before, strict=True)
        ]
        if images < 12:
            assert changed == [set(), set()]
    layers = {f"{name}.weight" for name, found in all_filters(player.network) if isinstance(found, Filters)}
    assert changed == [layers, layers]
    assert all(torch.equal(state["momentum_buffer"], kept) for state, kept in zip(player.optimizer.state.values(), moments, strict=True))
    for network in (player.network, tested):
        for name in layers:
            s = torch.linalg.svdvals(network.get_parameter(name).flatten(1))
            rank = int(len(s) - len(s) * 0.7)
            assert s[rank] / s[0] < 1e-5 < s[rank - 1] / s[0]
    assert 0 < method.status()["energy_kept_c"] < 1
    table = method.files()["ranks.txt"].decode()
    assert all(name.removesuffix(".weight") in table for name in layers)


def test_the_layers_of_both_networks_compute_what_was_projected() -> None:
    player, method = small_player()
    method.factorise_at = 12
    players: dict[PlayerName, Player] = {"classifier": player}
    method.begin(players, Progress(8))
    twin, other = small_player()
    other.begin({"classifier": twin}, Progress(8))
    other.between({"classifier": twin}, Progress(12), no_loss)
    assert method.between(players, Progress(12), no_loss)
    x = torch.randn(4, 3, 32, 32)
    for ours, theirs in ((player.network, twin.network), (player.tested, twin.tested)):
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=1e-4)
    assert not torch.equal(player.network(x), player.tested(x))
    alive = set(player.network.parameters())
    assert {parameter for group in player.optimizer.param_groups for parameter in group["params"]} == alive
    method.begin(players, Progress(12))
    assert not method.between(players, Progress(24), no_loss)


# ---- every network -------------------------------------------------------------------------------------------------

REFUSED = {
    "sngan, bank": "a GConv2d bank with a dynamic bias",
    "sngan, filter gates": "a GConv2d bank with gates per filter",
    "conv-norm discriminator": "ConvNorm2d is another function",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_computes_with_thin_layers_what_it_did_projected_or_is_refused(name: str) -> None:
    def new() -> nn.Module:
        return made(name)[1].float()

    player, network = made(name)[0], new()
    options: dict[str, Any] = {"removed": 0.5, "every": 8, "min_rank": 1}
    if name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name]):
            LowRankProjection(**options).check({player: network})
        options["ranks"] = refused_layers(network)
        if len(options["ranks"]) == len(list(all_filters(network))):
            return
    inputs, before = example_inputs(player, network), macs_of(player, network)

    def projected(network: nn.Module, **more: Any) -> dict[str, Any]:
        method, players = LowRankProjection(**options, **more), {player: player_of(network, name=player)}
        method.check({player: network})
        method.begin(players, Progress(4))
        assert method.between(players, Progress(8), no_loss) == bool(more)
        return method.facts()

    dense = new()
    projected(dense)
    facts = projected(network, factorise_at=8)
    expected: Tensor = dense(*inputs).detach()
    torch.testing.assert_close(network(*inputs), expected, rtol=0, atol=1e-4 * max(1.0, float(expected.abs().max())))
    assert not torch.allclose(expected, new()(*inputs), atol=1e-3)
    assert macs_of(player, network) < before

    again = new()
    LowRankProjection().rebuild(player, again, json.loads(json.dumps(facts)))
    again.load_state_dict(network.state_dict())
    channels_last(again)  # as the network of a player
    assert torch.equal(again(*inputs), network(*inputs))


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize("kind", parts.GENERATORS)
def test_the_default_leaves_every_generator_its_colours(kind: str, tmp_path: Path) -> None:
    method = {"kind": "low_rank", "players": ["generator"], "removed": 0.9, "factorise_at": 16}
    networks = {"generator": {"kind": kind, "width": 16, "latent_dim": 6, "conv": {"kind": "plain"}}}
    sizes = {"data": {"size": 16}, "discriminator": {"width": 8}} if kind == "dcgan" else {}  # at 8 px its only one makes colours
    recipe.fit(tiny(tmp_path, **networks, **sizes, methods=[method], trainer={"total_images": 16}))
    generator = load_run(tmp_path / "tiny").generator()
    pairs = [layer for layer in generator.modules() if [name for name, _ in layer.named_children()] == ["first", "second"]]
    assert pairs
    assert all(pair.get_submodule("second").out_channels > 3 for pair in pairs)
    pictures = generator(torch.randn(8, 6), torch.arange(8))
    assert torch.linalg.matrix_rank(pictures.movedim(1, 0).flatten(1).T.double() - pictures.mean((0, 2, 3)).double()) == 3


def refused_layers(network: nn.Module) -> list[tuple[str, int]]:
    return [(name, 0) for name, found in all_filters(network) if not isinstance(found, Filters)]


# ---- whole runs ----------------------------------------------------------------------------------------------------

METHOD: dict[str, Any] = {"kind": "low_rank", "every": 96, "removed": 0.6, "min_rank": 3, "factorise_at": 320}


def interrupted(folder: Path, at: int) -> None:
    """Make a finished run one that was killed after its checkpoint at ``at`` images."""
    for checkpoint in (folder / "tiny").glob("checkpoint-*"):
        if int(checkpoint.name.split("-")[1]) > at:
            shutil.rmtree(checkpoint)


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_gan_that_was_killed_ends_with_the_same_bits(tmp_path: Path) -> None:
    def config() -> Any:
        return tiny(tmp_path, generator={"width": 16}, methods=[METHOD])

    recipe.fit(config())
    expected = final_files(tmp_path)
    facts = json.loads(expected["state.json"])["methods"][0]["facts"]
    assert facts.keys() == {"generator", "discriminator"}
    before = load_file(tmp_path / "tiny" / "checkpoint-160" / "discriminator.safetensors")
    after = load_file(tmp_path / "tiny" / "checkpoint-480" / "discriminator.safetensors")
    name = next(iter(facts["discriminator"]))
    assert f"{name}.parametrizations.weight.original" in before
    assert f"{name}.first.parametrizations.weight.original" in after
    assert (tmp_path / "tiny" / "methods" / "low_rank" / "ranks.txt").read_text().count("multiply-adds") == 2
    for at in (320, 160):  # with the change, and between projections
        interrupted(tmp_path, at)
        recipe.fit(config())
        assert final_files(tmp_path) == expected


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_classifier_is_factorised_at_its_end_and_read_by_everyone(tmp_path: Path) -> None:
    def config(**changes: Any) -> Any:
        options = {**METHOD, "factorise_at": 480, "recalibrate": 2}
        return tiny_classifier(tmp_path, network={"options": {"dropout": 0.3}}, methods=[options], **changes)

    classifier_recipe.fit(config())
    folder = tmp_path / "tiny"
    tensors = load_file(folder / "model.safetensors")
    interrupted(tmp_path, 160)
    classifier_recipe.fit(config())
    again = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)
    thin = [name for name in tensors if name.endswith("first.weight")]
    assert len(thin) > 5
    network = load_classifier(folder)[0]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())
    shares = [row["energy_kept_c"] for row in read_metrics(folder / "metrics.jsonl") if "energy_kept_c" in row]
    assert shares[0] == 1
    assert 0 < shares[-1] < 1

    other = tmp_path / "next"
    classifier_recipe.fit(tiny_classifier(other, start_from=str(folder), trainer={"total_images": 32}))
    assert set(load_file(other / "tiny" / "model.safetensors")) == set(tensors)


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_statistics_are_recalibrated_to_the_thin_network(tmp_path: Path) -> None:
    def fitted(name: str, batches: int) -> dict[str, Tensor]:
        method = {**METHOD, "factorise_at": 160, "recalibrate": batches}
        changes: dict[str, Any] = {"trainer": {"total_images": 160}, "average": {"half_life_images": 0}}
        classifier_recipe.fit(tiny_classifier(tmp_path / name, methods=[method], **changes))
        return load_file(tmp_path / name / "tiny" / "checkpoint-160" / "classifier.safetensors")

    stale, new = fitted("stale", 0), fitted("new", 2)
    moved = {name for name in stale if not torch.equal(stale[name], new[name])}
    assert moved == {name for name in stale if "running" in name or "num_batches" in name}
    assert all(int(new[name]) == 2 for name in new if "num_batches" in name)


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize("mode", ["dictionary", "bank"])
def test_a_thin_generator_is_sampled_exported_and_converted(mode: str, tmp_path: Path) -> None:
    method = {**METHOD, "players": ["generator"], "removed": 0.75, "factorise_at": 480}
    recipe.fit(tiny(tmp_path, generator={"width": 16, "conv": {"mode": mode}}, methods=[method]))
    run = load_run(tmp_path / "tiny")
    z, y = torch.randn(3, 6), torch.tensor([1, 2, 3])
    thin = run.generator()
    report = json.loads((tmp_path / "tiny" / "methods" / "low_rank" / "report.json").read_text())["numbers"]
    assert report["generator_macs_share"] < 0.7
    assert f"{macs_of('generator', thin):,} as two layers" in (tmp_path / "tiny" / "methods" / "low_rank" / "ranks.txt").read_text()
    images = thin(z, y)
    assert images.std() > 0.01
    folder = tmp_path / "export"
    # in a process of its own: its tracing passes sizes that a test's type checks refuse
    run_python(["-m", "gconv_gan.export", str(tmp_path / "tiny"), "--out", str(folder)]).check_returncode()
    assert (folder / "generator.onnx").exists()
    assert torch.equal(load_exported(folder)[0](z, y), images)
    ours, theirs = gconv_gan.load(tmp_path / "tiny"), gconv_gan.load(folder)
    assert isinstance(ours, GAN)
    assert isinstance(theirs, GAN)
    assert torch.equal(ours.sample(4, seed=0), theirs.sample(4, seed=0))


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_finished_gan_is_compressed_by_a_run_that_starts_from_it(tmp_path: Path) -> None:
    short: dict[str, Any] = {"generator": {"width": 16}, "trainer": {"total_images": 32}}
    recipe.fit(tiny(tmp_path / "finished", **short))
    fixed: dict[str, Any] = {"generator_optimizer": {"learning_rate": 1e-12}, "discriminator_optimizer": {"learning_rate": 1e-12}}
    method = {"kind": "low_rank", "factorise_at": 0, "energy": 0.7, "rectify": False, "transfer": False}
    recipe.fit(tiny(tmp_path / "thin", start_from=str(tmp_path / "finished" / "tiny"), methods=[method], **short, **fixed))
    thin, finished = (load_file(tmp_path / name / "tiny" / "checkpoint-32" / "discriminator.safetensors") for name in ("thin", "finished"))
    layer = "blocks.1.conv2"
    first, second = (thin[f"{layer}.{part}.parametrizations.weight.original"] for part in ("first", "second"))
    whole = finished[f"{layer}.parametrizations.weight.original"].flatten(1)
    assert len(first) < len(whole)
    lost = (second.flatten(1) @ first.flatten(1) - whole).square().sum() / whole.square().sum()
    assert 0.1 < lost < 0.301


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_an_iteration_is_free_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[HostFreeEngine] = []

    def build(iterate: Any) -> HostFreeEngine:
        engines.append(HostFreeEngine(iterate))
        return engines[-1]

    monkeypatch.setattr(engine, "EagerEngine", build)
    recipe.fit(tiny(tmp_path, methods=[{**METHOD, "factorise_at": 192}], trainer={"total_images": 288}))
    assert len(engines) == 2
    assert all(one.calls for one in engines)


def one_of_two(rank: int, config: str, port: int, seen: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    os.environ["MASTER_PORT"] = str(port)
    project = LowRankProjection.between

    def between(self: LowRankProjection, players: Any, progress: Progress, losses: Any) -> bool:
        changed = project(self, players, progress, losses)
        tensors = {f"{name}.{key}": tensor for name, one in players.items() for key, tensor in one.network.state_dict().items()}
        hashes.append([progress.images_seen, {key: hash(tensor.contiguous().numpy().tobytes()) for key, tensor in tensors.items()}])
        Path(seen, f"{rank}.json").write_text(json.dumps(hashes))  # the command ends the process
        return changed

    hashes: list[Any] = []
    LowRankProjection.between = between  # type: ignore[method-assign]
    sys.argv = ["train_gan.py", config]
    run_command("gconv_gan.commands.train.gan")


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_two_processes_hold_the_same_bits_and_learn_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    adam = {"learning_rate": 0.02, "eps": 0.1}  # as in test_two_processes
    changes: dict[str, Any] = {"generator_optimizer": adam, "discriminator_optimizer": adam, "trainer": {"total_images": 160, "n_dis": 1}}
    method = {**METHOD, "every": 32, "removed": 0.75, "factorise_at": 128}
    configs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        configs.append(tmp_path / name / "run.json")
        configs[-1].write_text(json.dumps({**tiny(tmp_path / name, **changes).model_dump(mode="json"), "methods": [method]}))
    run_two(one_of_two, str(configs[1]), free_ports(1)[0], str(tmp_path))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert [images for images, _ in first] == [*range(16, 161, 16)]
    assert first == second
    recipe.main([str(configs[0])])
    z, y = torch.randn(4, 6), torch.arange(4)
    # compared as functions: a factor's sign is arbitrary
    one, two = (load_run(tmp_path / name / "tiny").generator()(z, y) for name in ("one", "two"))
    torch.testing.assert_close(two, one, rtol=0, atol=1e-3)


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "method", "sentence"),
    [
        ({}, {"players": ["classifier"]}, "low_rank acts on the classifier, but the run has generator and discriminator"),
        ({}, {"ranks": [["blocks.0.conv9", 2]]}, r"low_rank\.ranks: no convolution is called 'blocks\.0\.conv9'; did you mean"),
        (
            {"generator": {"conv": {"kind": "invariant"}}},
            {},
            r"low_rank cannot factorise blocks\.0\.conv1 of the generator: InvariantConv2d is another .* leaves it as it is",
        ),
        ({}, {"removed": 1.5}, r"methods\.0\.removed: .*less than or equal to 1"),
    ],
)
def test_what_cannot_be_factorised_is_refused_in_one_sentence(
    options: dict[str, Any], method: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe.fit(tiny(tmp_path, methods=[{"kind": "low_rank", **method}], **options))
    assert not (tmp_path / "tiny").exists()
