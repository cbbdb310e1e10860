"""The losses that methods measure with: those of training, on any half batches, with any weights, and without a trace."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from gconv_gan.config.load import merged
from gconv_gan.methods.method import Losses, Method, Player, PlayerName, Progress
from gconv_gan.runtime.tracking import read_metrics
from tests.training.interrupted import CLASSIFIER, GAN
from tests.training.test_gan import EVERYTHING
from tests.training.tiny import final_files

Players = Mapping[PlayerName, Player]
SHORT: dict[str, Any] = {"trainer": {"total_images": 48, "log_every": 1, "checkpoint_every": 1000, "n_dis": 1}}


class Measuring(Method):
    """Call ``measure`` before a run and keep what it returns; ``still``: no network moves."""

    def __init__(self, measure: Callable[[Players, Losses], Any], *, still: bool = False) -> None:
        self.measure, self.still, self.found = measure, still, []

    found: list[Any]

    def start(self, players: Players, losses: Losses) -> None:
        self.found.append(self.measure(players, losses))

    def learning_rate_factor(self, player: Player, progress: Progress) -> float:
        return 0.0 if self.still else 1.0


class MeasuringOften(Measuring):
    """Measure after every iteration too."""

    def between(self, players: Players, progress: Progress, losses: Losses) -> bool:
        self.found.append(self.measure(players, losses))
        return False


def measured(folder: Path, measure: Callable[[Players, Losses], Any], **changes: Any) -> Any:
    """Return what ``measure`` returns at the start of a GAN run."""
    method = Measuring(measure, still=True)
    with pytest.MonkeyPatch.context() as patch:
        GAN.fit_with(patch, method, folder, **merged(SHORT, changes))
    return method.found[0]


def measured_classifier(folder: Path, measure: Callable[[Players, Losses], Any], **changes: Any) -> Any:
    """Return what ``measure`` returns at the start of a classifier's run."""
    method = Measuring(measure, still=True)
    short = {"trainer": {key: value for key, value in SHORT["trainer"].items() if key != "n_dis"}}
    with pytest.MonkeyPatch.context() as patch:
        CLASSIFIER.fit_with(patch, method, folder, **merged(short, changes))
    return method.found[0]


GANS: dict[str, dict[str, Any]] = {
    "plain": {"discriminator": {"norm": {"kind": "none"}}},
    "batch_norm": {"discriminator": {"norm": {"kind": "none"}, "block_norm": {"kind": "batch"}}},
    "relativistic, diff_augment": {
        "discriminator": {"norm": {"kind": "none"}},
        "objective": {"loss": "relativistic_pairing"},
        "augment": {"kind": "diff_augment"},
    },
    "ada, top-k": {
        "discriminator": {"norm": {"kind": "none"}},
        "augment": {"kind": "ada", "initial_probability": 0.8, "ramp_images": 10**6},
        "objective": {"top_k": {"final_fraction": 0.5, "decay": 0.5, "decay_images": 10**6}},
    },
}


@pytest.mark.parametrize("option", GANS)
def test_two_halves_give_the_training_loss_of_a_gan(option: str, tmp_path: Path) -> None:
    def measure(players: Players, losses: Losses) -> list[dict[str, float]]:
        return [{f"loss_{name[0]}": losses(name, (2 * i, 2 * i + 1)).item() for name in players} for i in range(3)]

    found = measured(tmp_path, measure, **GANS[option])
    lines = read_metrics(tmp_path / "tiny" / "metrics.jsonl")
    assert [line["images"] for line in lines] == [16, 32, 48]
    for values, line in zip(found, lines, strict=True):
        assert {name: line[name] for name in values} == pytest.approx(values, rel=1e-6)
    assert len({values["loss_d"] for values in found}) == 3


def test_spectral_norms_take_the_power_iteration_of_the_next_step(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda _, losses: losses("discriminator", (0, 1)).item(), generator={"spectral_norm": True})
    assert read_metrics(tmp_path / "tiny" / "metrics.jsonl")[0]["loss_d"] == pytest.approx(found, rel=1e-6)


def test_two_halves_give_the_training_loss_of_a_classifier(tmp_path: Path) -> None:
    def measure(players: Players, losses: Losses) -> list[float]:
        return [losses("classifier", (2 * i, 2 * i + 1)).item() for i in range(3)]

    found = measured_classifier(tmp_path, measure)
    lines = read_metrics(tmp_path / "tiny" / "metrics.jsonl")
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(found, rel=1e-6)


WITHOUT_BATCH_NORM: dict[str, Any] = {"generator": {"norm": {"kind": "group", "num_groups": 2}}}


def test_halves_may_be_put_together_at_will(tmp_path: Path) -> None:
    def measure(players: Players, losses: Losses) -> dict[PlayerName, list[float]]:
        return {name: [losses(name, halves).item() for halves in ((3,), (4,), (3, 4), (4, 3))] for name in players}

    for first, second, both, swapped in measured(tmp_path, measure, **WITHOUT_BATCH_NORM).values():
        assert first != second
        assert both == pytest.approx((first + second) / 2, rel=1e-5)
        assert swapped == pytest.approx(both, rel=1e-5)

    def classifier(players: Players, losses: Losses) -> list[float]:
        players["classifier"].network.eval()  # of a classifier here, dropout and batch norm
        found = [losses("classifier", halves).item() for halves in ((3,), (4,), (3, 4))]
        players["classifier"].network.train()
        return found

    first, second, both = measured_classifier(tmp_path / "classifier", classifier)
    assert first != second
    assert both == pytest.approx((first + second) / 2, rel=1e-5)


def stand_ins(players: Players, losses: Losses) -> dict[PlayerName, list[float]]:
    """Return losses of each network, of its weights elsewhere, of other weights in it, and of a copy with these."""
    found = {}
    for name, player in players.items():
        network = player.network
        same = {key: parameter.detach().clone().requires_grad_() for key, parameter in network.named_parameters()}
        other = {key: parameter.detach() * 1.01 for key, parameter in network.named_parameters()}
        twin = copy.deepcopy(network)
        with torch.no_grad():
            for key, parameter in twin.named_parameters():
                parameter.copy_(other[key])

        def called(weights: dict[str, Tensor], network: nn.Module = network) -> Callable[..., Any]:
            return lambda *inputs: functional_call(network, weights, inputs)

        through = losses(name, (0, 1), called(same))
        gradients = torch.autograd.grad(through, list(same.values()), allow_unused=True)
        assert any(gradient is not None and gradient.any() for gradient in gradients)
        found[name] = [losses(name, (0, 1)).item(), through.item(), losses(name, (0, 1), called(other)).item()]
        found[name].append(losses(name, (0, 1), twin).item())
    return found


def test_a_stand_in_gives_the_loss_of_its_own_weights(tmp_path: Path) -> None:
    found = {**measured(tmp_path / "gan", stand_ins), **measured_classifier(tmp_path / "classifier", stand_ins)}
    assert set(found) == {"generator", "discriminator", "classifier"}
    for name, (bare, same, other, twin) in found.items():
        assert bare == same, name
        assert other != same, name
        # a copy has spectral norms of its own, which take another power iteration
        assert twin == pytest.approx(other, rel=1e-4 if name == "discriminator" else 1e-6), name


OPTIONS: dict[str, Any] = {**EVERYTHING, "discriminator": {"block_norm": {"kind": "batch"}}, "generator": {"spectral_norm": True}}
OPTIONS["objective"] = {key: value for key, value in OPTIONS["objective"].items() if key != "penalty"}


def test_measuring_leaves_no_trace(tmp_path: Path) -> None:
    def measure(players: Players, losses: Losses) -> list[Tensor]:
        found = [losses(name, halves) for name in players for halves in ((5,), (0, 1))]
        for name, loss in zip((name for name in players for _ in range(2)), found, strict=True):
            torch.autograd.grad(loss, [parameter for _, parameter in players[name].parameters], allow_unused=True)
            assert all(parameter.grad is None for _, parameter in players[name].parameters)
        return found

    short = {"trainer": {"total_images": 160}}
    GAN.fit(GAN.tiny(tmp_path / "unseen", **merged(OPTIONS, short)))
    CLASSIFIER.fit(CLASSIFIER.tiny(tmp_path / "unseen classifier", **short))
    often = MeasuringOften(measure)
    with pytest.MonkeyPatch.context() as patch:
        GAN.fit_with(patch, often, tmp_path / "seen", **merged(OPTIONS, short))
        CLASSIFIER.fit_with(patch, often, tmp_path / "seen classifier", **short)
    assert len(often.found) == 2 + 160 // 32 + 160 // 16
    for name in ("", " classifier"):
        seen, unseen = (final_files(tmp_path / f"{folder}{name}", 160) for folder in ("seen", "unseen"))
        assert seen == unseen
