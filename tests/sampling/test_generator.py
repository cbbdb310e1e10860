"""The loop of all generated images: replayed as called, and without a host read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.commands.train.networks import build_networks
from gconv_gan.metrics.images.extraction import Wanted, extract
from gconv_gan.metrics.images.sources import FakeSource
from gconv_gan.runtime import capture
from gconv_gan.sampling.generator import Sampler
from gconv_gan.sampling.latents import draw_labels, draw_latents
from tests.reference.host_free import host_free
from tests.reference.recorder import Recorder
from tests.reference.stub_extractor import StubExtractor
from tests.training.tiny import tiny

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {"kind": "plain"},
    "dictionary": {"kind": "gconv", "class_gates": True},
    "bank": {"kind": "gconv", "mode": "bank"},
    "mapping": {"kind": "gconv"},
}


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(capture, "captures", lambda _: True)
    monkeypatch.setattr(capture, "recorder", lambda _: made)
    return made


def generator_of(folder: Path, name: str) -> nn.Module:
    options: dict[str, Any] = {"conv": CONVOLUTIONS[name]}
    if name == "mapping":
        options["mapping"] = {"kind": "mlp", "depth": 2, "width": 8}
    return build_networks(tiny(folder, generator=options), 10)[0]


def inputs(generator: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    numbers = torch.arange(count)
    return draw_latents(0, "test", numbers, latent_dim=int(generator.latent_dim)), draw_labels(0, "test", numbers, num_classes=10)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_replayed_batches_are_those_of_the_generator(name: str, tmp_path: Path, recorder: Recorder) -> None:
    generator = generator_of(tmp_path, name)
    z, y = inputs(generator, 70)
    generator.train()
    images = Sampler(generator, batch_size=16)(z, y)
    assert (recorder.recorded, recorder.replays) == (1, 2)  # of four whole batches; the rest of six images is called
    assert all(module.training for module in generator.modules())
    with torch.no_grad():
        expected = [generator.eval()(*part) for part in zip(z.split(16), y.split(16), strict=True)]
    assert images.equal(torch.cat(expected))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_pass_reads_nothing_on_the_host(name: str, tmp_path: Path) -> None:
    generator = generator_of(tmp_path, name)
    sampler, (z, y) = Sampler(generator, batch_size=8), inputs(generator, 24)
    sampler(z, y)
    with host_free() as mode:
        images = sampler(z, y)
    assert len(images) == 24
    assert mode.calls


@pytest.mark.parametrize("by_batch", [None, 32])
def test_scored_images_are_those_of_plain_calls(by_batch: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = generator_of(tmp_path, "dictionary")
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    wanted = [Wanted(StubExtractor(), 600, features=True, logits=True)]

    def source() -> FakeSource:
        return FakeSource(generator, count=600, seed=3, batch_size=32, statistics_batch=by_batch)

    plain = extract(source(), wanted)[0]
    made = Recorder()
    monkeypatch.setattr(capture, "captures", lambda _: True)
    monkeypatch.setattr(capture, "recorder", lambda _: made)
    replayed = extract(source(), wanted)[0]
    assert made.replays == 19 - 2
    assert replayed.images_sha256 == plain.images_sha256
    assert plain.features is not None
    assert plain.features.equal(replayed.features)
    assert replayed.moments.covariance.equal(plain.moments.covariance)
    assert all(value.equal(before[name]) for name, value in generator.state_dict().items())
