"""Images of several discriminator steps in one pass: those, and the buffers, of one pass per step; and which networks are passed so."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.config.load import merged
from gconv_gan.layers.norms.group_norm import GroupNormPlus
from gconv_gan.layers.norms.iter_norm import IterNorm
from gconv_gan.layers.norms.joined_batches import can_be_joined
from gconv_gan.layers.norms.running_statistics import batches_counted_together
from gconv_gan.training import adversarial, fakes
from gconv_gan.training.fakes import steps_in_a_pass, with_fakes
from gconv_gan.training.gan_inputs import DiscriminatorInputs
from tests.training.test_two_processes import ADAM, weights
from tests.training.tiny import tiny

BANK = {"kind": "gconv", "mode": "bank", "num_kernels": 3}
BIGGAN: dict[str, Any] = {"kind": "biggan", "width": 8, "latent_dim": 6, "attention": [8], "spectral_norm": False}
JOINED: dict[str, dict[str, Any]] = {
    "plain, classes": {"conv": {"kind": "plain"}},
    "dictionary": {},
    "bank": {"conv": BANK},
    "bank with one kernel": {"conv": {**BANK, "selection": "top_m", "top_m": 1}},
    "self-modulation": {"norm": {"kind": "self_modulated"}},
    "mapping network": {"mapping": {"kind": "mlp", "depth": 2, "width": 8}},
    "modulation": {"conv": {"kind": "stylegan2"}},
    "BigGAN": BIGGAN,
}
ALONE: dict[str, dict[str, Any]] = {
    "spectral norm": {**BIGGAN, "spectral_norm": True},
    "whitening": {"norm": {"kind": "iter"}},
    "whitened patches": {"conv": {"kind": "invariant", "block_size": 4}},
}
BATCH = 6


def generator_of(folder: Path, keys: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return build_networks(tiny(folder, generator=keys), 10)[0].double()


def inputs(steps: int) -> list[DiscriminatorInputs]:
    draw = torch.Generator().manual_seed(1)
    z = torch.randn(steps, BATCH, 6, generator=draw, dtype=torch.float64)
    y = torch.randint(10, (steps, BATCH), generator=draw)
    return [DiscriminatorInputs(z[i], y[i], z[i], y[i], None, None, None, None, None, None) for i in range(steps)]


@pytest.mark.parametrize("kind", JOINED)
def test_one_pass_over_the_batches_of_all_steps_is_one_pass_for_each(kind: str, tmp_path: Path) -> None:
    joined, apart = (generator_of(tmp_path, JOINED[kind]) for _ in range(2))
    before = {name: buffer.clone() for name, buffer in joined.named_buffers()}
    steps = inputs(5)
    assert steps_in_a_pass(joined, steps[0].z, steps[0].fake_labels, steps=5) == 5
    with batches_counted_together():
        found = [step.fakes for part in (steps[:1], steps[1:3], steps[3:]) for step in with_fakes(joined, part)]
        with torch.no_grad():
            images = [apart(step.z, step.fake_labels) for step in steps]
    torch.testing.assert_close(found, images, rtol=1e-11, atol=1e-12)
    for name, buffer in joined.named_buffers():
        torch.testing.assert_close(buffer, apart.get_buffer(name), rtol=1e-11, atol=1e-12, msg=name)
    assert any(not torch.equal(buffer, before[name]) for name, buffer in joined.named_buffers())


@pytest.mark.parametrize("kind", ALONE)
def test_other_networks_have_a_pass_for_each_step(kind: str, tmp_path: Path) -> None:
    step = inputs(1)[0]
    assert steps_in_a_pass(generator_of(tmp_path, ALONE[kind]), step.z, step.fake_labels, steps=5) == 1


class Foreign(nn.Conv2d):
    """A layer of a user, of which nothing is known."""


class Declared(nn.Conv2d):
    """A layer of a user that treats every image apart."""

    couples_batch = False


class Overridden(Declared):
    """A layer that inherits the declaration and may do something else."""


def test_what_a_layer_declares_decides() -> None:
    assert can_be_joined(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), Declared(3, 3, 1)))
    coupled = (nn.BatchNorm2d(3), nn.Dropout(0.5), nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 1)))
    for layer in (*coupled, IterNorm(4), GroupNormPlus(4), Foreign(3, 3, 1), Overridden(3, 3, 1)):
        assert not can_be_joined(nn.Sequential(nn.Conv2d(3, 3, 1), layer)), layer


def test_a_pass_has_as_many_batches_as_its_largest_map_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, step = generator_of(tmp_path, {}), inputs(1)[0]
    largest = 8 * 8 * 8 * 8  # bytes of 8 channels of 8 px in float64
    for limit, count in ((0, 1), (2 * BATCH * largest, 2), (3 * BATCH * largest - 1, 2), (100 * BATCH * largest, 5)):
        monkeypatch.setitem(fakes.LARGEST_MAP, "cpu", limit)
        assert steps_in_a_pass(network, step.z, step.fake_labels, steps=5) == count


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize(("limit", "sizes"), [(None, [5]), (2 * 16 * 2048, [2, 2, 1]), (None, [1] * 10)], ids=["all", "some", "parts"])
def test_a_run_does_not_depend_on_the_passes(limit: int | None, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    changes: dict[str, Any] = {
        "generator_optimizer": ADAM,
        "discriminator_optimizer": ADAM,
        "trainer": {"n_dis": 5, "total_images": 160, "checkpoint_every": 160, "micro_batches": 2 if len(sizes) == 10 else 1},
    }

    def counted(network: nn.Module, parts: Any) -> Any:
        passes.append(len(parts))
        return with_fakes(network, parts)

    with monkeypatch.context() as patch:
        patch.setattr(adversarial, "with_fakes", counted)
        if limit is not None:
            patch.setitem(fakes.LARGEST_MAP, "cpu", limit)
        recipe.fit(tiny(tmp_path, **merged(changes, {"name": "joined"})))
    assert passes == ([] if len(sizes) == 10 else 2 * sizes)
    monkeypatch.setattr(adversarial, "steps_in_a_pass", lambda *_, **__: 1)
    recipe.fit(tiny(tmp_path, **merged(changes, {"name": "apart"})))
    ours, theirs = weights(tmp_path, "joined"), weights(tmp_path, "apart")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
