"""Tests that need a CUDA device: ``pytest -m gpu tests/training/test_gpu.py``."""

import contextlib
import copy
import dataclasses
import gc
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load

from gconv_gan.commands import ablate
from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import forms, layouts
from gconv_gan.commands.train import gan as gan_recipe
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.config.load import merged
from gconv_gan.data.batches.loaders import BatchSource
from gconv_gan.data.reading.transforms import quantise
from gconv_gan.experiments.arms import arm_run, load_ablation
from gconv_gan.layers.norms import global_batch
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.layers.norms.global_batch import batch_normalised, check_fused_kernels
from gconv_gan.metrics.generative import kid
from gconv_gan.metrics.images.extraction import Wanted, extract
from gconv_gan.metrics.images.sources import FakeSource
from gconv_gan.metrics.neighbours import neighbourhoods
from gconv_gan.runtime.capture import CaptureStream, no_waiting, own_stream
from gconv_gan.runtime.precision import float32_arithmetic
from gconv_gan.runtime.random import Stream
from gconv_gan.sampling.generator import Sampler
from gconv_gan.sampling.latents import draw_labels, draw_latents
from gconv_gan.training import engine, processes
from gconv_gan.training.checkpoint import STATE
from gconv_gan.training.draws import Draws
from gconv_gan.training.fakes import steps_in_a_pass, with_fakes
from gconv_gan.training.gan_inputs import DiscriminatorInputs
from tests.commands.test_ablate import DIGITS, command, scored_by_weights
from tests.data.made import in_memory
from tests.reference.small_extractor import SmallExtractor
from tests.training.test_host_free import CLASSIFIER_OPTIONS, GAN_OPTIONS
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

pytestmark = pytest.mark.gpu
__all__ = ["scored_by_weights"]  # a fixture

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is computed

SHORT: dict[str, Any] = {"trainer": {"total_images": 160, "checkpoint_every": 1000, "log_every": 80}}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"generator": {"conv": {"kind": "plain"}}},
    "bank": {"generator": {"conv": {"kind": "gconv", "mode": "bank"}}},
    "ConvNorm": {"discriminator": {"norm": {"kind": "conv_norm"}}},
    "five steps of D": {"trainer": {"n_dis": 5}},
    "five steps of D, bank": {"generator": {"conv": {"kind": "gconv", "mode": "bank"}}, "trainer": {"n_dis": 5}},
    "bf16 with a penalty": {"trainer": {"precision": "bf16"}, "objective": {"penalty": {"kind": "r1"}}},
    **GAN_OPTIONS,
}


@pytest.fixture(autouse=True)
def _on_a_gpu() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class WatchedEngine(engine.EagerEngine):
    """The eager engine; from the second iteration of a variant on, waiting for the device raises an error."""

    def __init__(self, iteration: engine.Iteration) -> None:
        super().__init__(iteration)
        self.seen: set[Any] = set()

    def run(self, variant: Any, inputs: Any) -> None:
        with no_waiting() if variant in self.seen else contextlib.nullcontext():
            super().run(variant, inputs)
        self.seen.add(variant)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of converted data and measured layouts, which all runs of a test must share to be compared."""
    return tmp_path_factory.mktemp("cache")


def run(folder: Path, name: str, option: dict[str, Any], cache: Path) -> dict[str, bytes]:
    """Train a tiny GAN on the engine ``name``; return its last checkpoint. The engine must not fall back to eager execution."""
    config = tiny(folder / name, **merged(merged(SHORT, option), {"trainer": {"engine": name}, "data": {"cache_dir": str(cache)}}))
    gan_recipe.fit(config)
    log = (folder / name / "tiny" / "log.txt").read_text()
    assert "operation by operation" not in log, log
    total = -(-config.trainer.total_images // config.trainer.images_per_iteration) * config.trainer.images_per_iteration
    return final_files(folder / name, images=total)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_graph_trains_as_the_operations_do_and_neither_waits(
    option: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "EagerEngine", WatchedEngine)
    captured, called = (run(tmp_path, name, OPTIONS[option], cache) for name in ("cuda_graph", "eager"))
    same = captured == called
    print(f"{option}: {'bit-equal' if same else 'not bit-equal'}")
    for file, content in called.items():
        if file.endswith(".safetensors") and not same:
            mine, theirs = load(captured[file]), load(content)
            for name, tensor in theirs.items():
                torch.testing.assert_close(mine[name].float(), tensor.float(), rtol=0.05, atol=5e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_a_graph_trains_a_classifier_as_the_operations_do(tmp_path: Path, cache: Path) -> None:
    scores = []
    for name in ("cuda_graph", "eager"):
        options = merged(
            merged(SHORT, CLASSIFIER_OPTIONS["mixup and CutMix"]), {"trainer": {"engine": name}, "data": {"cache_dir": str(cache)}}
        )
        scores.append(classifier_recipe.fit(tiny_classifier(tmp_path / name, **options)))
        assert "operation by operation" not in (tmp_path / name / "tiny" / "log.txt").read_text()
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], rel=0.05)


def test_a_killed_run_that_is_started_again_is_the_uninterrupted_one(tmp_path: Path, cache: Path) -> None:
    option: dict[str, Any] = {"objective": {"penalty": {"kind": "r1", "every": 3}}, "schedule": {"kind": "constant"}}
    option["data"] = {"cache_dir": str(cache)}
    for folder, totals in (("killed", (160, 480)), ("whole", (480,))):
        for total in totals:
            AcceleratorState._reset_state(reset_partial_state=True)
            gan_recipe.fit(tiny(tmp_path / folder, **merged(option, {"trainer": {"total_images": total, "engine": "cuda_graph"}})))
    killed, whole = (final_files(tmp_path / folder) for folder in ("killed", "whole"))
    assert {name: killed[name] == content for name, content in whole.items()} == dict.fromkeys(whole, True)


@pytest.mark.usefixtures("scored_by_weights")
def test_runs_on_streams_of_their_own_are_those_alone(tmp_path: Path) -> None:
    config = load_ablation(DIGITS)
    together, alone = (command(tmp_path / name, images=960, cache_dir=str(tmp_path / "cache")) for name in ("together", "alone"))
    result = ablate.ablate(config, together)
    assert result.images == 960
    for arm in config.arms:
        for seed in (0, 1):
            AcceleratorState._reset_state(reset_partial_state=True)
            run = arm_run(config, alone, arm, seed)
            gan_recipe.fit(run)
            folders = (tmp_path / "together" / "digits" / run.name, Path(run.runs_dir) / run.name)
            mine, theirs = ((folder / "checkpoint-960" / "ema.safetensors").read_bytes() for folder in folders)
            assert mine == theirs, f"{arm}, seed {seed}"


def test_numbers_and_images_are_those_of_a_cpu() -> None:
    places = torch.arange(4096)
    stream = Stream(3, "test")
    assert stream.words(7, places.cuda(), 8).cpu().equal(stream.words(7, places, 8))
    assert stream.coins(7, places.cuda()).cpu().equal(stream.coins(7, places))
    on_gpu, on_cpu = stream.normal(7, places.cuda(), 128).cpu(), stream.normal(7, places, 128)
    assert int((on_gpu != on_cpu).sum()) <= 2
    devices = [torch.device("cpu"), torch.device("cuda", 0)]
    drawn = [[Draws(3, 16, 6, 5, 0, 1, device)("d", step, (2,)) for step in (0, 1, 33)] for device in devices]
    for one, other in zip(*drawn, strict=True):
        assert one.labels is not None
        assert other.labels is not None
        assert one.labels.equal(other.labels.cpu())
    data = in_memory(np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8), [0, 1] * 25, ("a", "b"))
    for resident in (True, False):
        batches = [BatchSource(data, seed=1, flip=True, batch_size=12, device=device, resident=resident) for device in devices]
        for images_seen in (0, 12, 600):
            (images, labels), (expected, classes) = (source.batch(images_seen) for source in reversed(batches))
            assert images.is_cuda
            assert labels is not None
            assert classes is not None
            assert images.cpu().equal(expected)
            assert labels.cpu().equal(classes)


def test_the_device_is_used() -> None:
    assert Accelerator().device.type == "cuda"


def test_generated_images_and_features_are_replayed_and_nothing_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = build_networks(tiny(tmp_path, generator={"conv": {"kind": "gconv"}}), 10)[0].cuda()
    numbers = torch.arange(160, device="cuda")
    z, y = draw_latents(0, "test", numbers, latent_dim=6), draw_labels(0, "test", numbers, num_classes=10)
    sampler, extractor = Sampler(generator, batch_size=32), SmallExtractor("cuda")
    images = sampler(z, y)  # two batches are called, one is captured and replayed, two are replayed
    with no_waiting():
        again = sampler(z, y)
    torch.testing.assert_close(images, again, rtol=0, atol=0)
    with torch.no_grad(), float32_arithmetic(torch.device("cuda")):
        expected = torch.cat([generator.eval()(*part) for part in zip(z.split(32), y.split(32), strict=True)])
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-5)
    generator.train()
    pixels = quantise(images)
    features = [[extractor(part)[0] for part in pixels.split(32)] for _ in range(2)]
    with no_waiting():
        replayed = extractor(pixels[:32])[0]
    assert replayed.equal(features[1][0])
    torch.testing.assert_close(torch.cat(features[0]), torch.cat(features[1]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat(features[1]).cpu(), SmallExtractor("cpu")(pixels)[0], rtol=1e-4, atol=1e-4)
    assert "operation by operation" not in capsys.readouterr().out


def test_scores_are_those_of_a_cpu(tmp_path: Path) -> None:
    generator = build_networks(tiny(tmp_path), 10)[0]
    found = []
    for device in ("cpu", "cuda"):
        extractor = SmallExtractor(device)
        source = FakeSource(generator.to(device), count=700, seed=0, device=device, batch_size=64)
        seen = extract(source, [Wanted(extractor, 700, features=True)], batch_size=64)[0]
        assert seen.features is not None
        assert seen.features.device.type == device
        found.append(seen)
    ours, theirs = (one.features.cpu() for one in found if one.features is not None)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)  # a pixel may be a grey level apart
    torch.testing.assert_close(found[0].moments.covariance, found[1].moments.covariance.cpu(), rtol=1e-2, atol=1e-3)
    fake, real = theirs[:300], theirs[300:] + 0.01
    pairs = [(fake, real), (fake.cuda(), real.cuda())]
    balls = [dataclasses.astuple(neighbourhoods(*pair, k=3, comparison="<", tile=128)) for pair in pairs]
    assert balls[0] == balls[1]
    distances = [kid(*pair, subsets=5, subset_size=100) for pair in pairs]
    assert distances[0] == pytest.approx(distances[1], rel=1e-9)


def test_streams_of_captures_are_shared_with_nothing() -> None:
    gc.collect()
    streams = [own_stream(torch.device("cuda")) for _ in range(40)]
    assert len({stream.stream_id for stream in streams}) == 40


def test_the_averaging_of_gradients_by_nccl_is_captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        monkeypatch.setattr(processes, "process_count", lambda: 2)  # a sum over one process, halved
        gradients = [torch.ones(3, 2, 3, 3, device="cuda").contiguous(memory_format=torch.channels_last), torch.ones(4, device="cuda")]
        place = CaptureStream(torch.device("cuda"))
        place.aside(lambda: processes.average_gradients(gradients))
        replay = place.record(lambda: processes.average_gradients(gradients))
        for _ in range(2):
            replay()
        assert [gradient.unique().tolist() for gradient in gradients] == [[0.125], [0.125]]
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("fused", [False, True], ids=["torchs", "fused"])
def test_batch_norm_over_processes_by_kernels(fused: bool, tmp_path: Path) -> None:
    """One process shows calls, types, layouts and the capture of NCCL; the shares of two are joined from given statistics."""
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        slope = 0.2 if fused else 1.0
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4), (torch.bfloat16, 5e-2))[fused:]:
            for layout in (torch.contiguous_format, torch.channels_last):
                torch.manual_seed(0)
                x, g = (torch.randn(8, 6, 5, 5, device="cuda", dtype=dtype).contiguous(memory_format=layout) for _ in range(2))
                wide = torch.promote_types(dtype, torch.float32)
                weight, bias = (torch.rand(6, device="cuda", dtype=wide, requires_grad=True) for _ in range(2))
                for scale, shift in ((weight, bias), (None, None)):
                    leaves = [x.requires_grad_(), *(one for one in (scale, shift) if one is not None)]
                    y, statistics = batch_normalised(x, scale, shift, eps=1e-3, slope=slope, shared=True, fused=fused)
                    exact = [None if one is None else one.double() for one in (scale, shift)]
                    expected = F.leaky_relu(F.batch_norm(x.double(), None, None, *exact, training=True, eps=1e-3), slope)
                    assert y.dtype == dtype
                    assert y.is_contiguous(memory_format=layout)
                    firsts = []
                    for result in (y, expected):
                        plain = torch.autograd.grad(result, leaves, g.to(result), retain_graph=True)
                        kept = torch.autograd.grad(result, leaves, g.to(result), create_graph=True)
                        second = torch.autograd.grad(kept[0].double().square().sum(), leaves[:2], materialize_grads=True, allow_unused=True)
                        firsts.append([result, *plain, *kept, *second])
                    firsts[0] += [statistics.mean, statistics.variance]
                    firsts[1] += [x.double().mean((0, 2, 3)), x.double().var((0, 2, 3), correction=0)]
                    for ours, reference in zip(*firsts, strict=True):
                        bound = tolerance * (1 + reference.abs().max().item())
                        torch.testing.assert_close(ours.double(), reference.double(), rtol=0, atol=bound)
        means, inverses = torch.randn(3, 6, device="cuda"), torch.rand(3, 6, device="cuda") + 0.5
        joined = [
            global_batch._joint_statistics(m, i, torch.tensor([3.0, 1.0, 2.0]).to(m), 1e-3)
            for m, i in ((means, inverses), (means.cpu().double(), inverses.cpu().double()))
        ]
        for ours, reference in zip(*joined, strict=True):
            torch.testing.assert_close(ours.cpu().double(), reference, rtol=1e-4, atol=1e-5)
        replayed_is_called(lambda x: batch_normalised(x, None, None, eps=1e-3, slope=slope, shared=True, fused=fused)[0])
    finally:
        dist.destroy_process_group()


def replayed_is_called(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Compare the gradient of a captured function of a map, replayed on other values, with that of a call."""
    x = torch.randn(8, 6, 5, 5, device="cuda", requires_grad=True)
    found: list[Any] = []

    def once() -> None:
        y = function(x)
        found[:] = torch.autograd.grad(y.square().sum() + y.pow(3).sum(), x)

    place = CaptureStream(torch.device("cuda"))
    place.aside(once)
    replay = place.record(once)
    with torch.no_grad():
        x.normal_()
    replay()
    captured = found[0].clone()
    once()
    torch.testing.assert_close(captured, found[0])


def test_fused_batch_norm_computes_and_tracks_what_torchs_does() -> None:
    check_fused_kernels(torch.device("cuda"))
    torch.manual_seed(0)
    scale, shift = torch.randn(2, 64, 96, device="cuda").unbind(0)
    for dtype, layout in itertools.product((torch.float32, torch.bfloat16, torch.float16), (torch.contiguous_format, torch.channels_last)):
        x = (3 * torch.randn(64, 96, 32, 32, device="cuda") + 5).to(dtype).contiguous(memory_format=layout)
        results = []
        for fused in (True, False):
            norm = BatchNorm2d(96, affine=False).cuda()
            norm.fused = fused
            leaves = [x.detach().requires_grad_(), *(one.clone().requires_grad_() for one in (scale, shift))]
            y = norm(leaves[0], scale=leaves[1], shift=leaves[2], slope=0.2)
            gradients = torch.autograd.grad(y.float().pow(2).mean() * 1e4, leaves)
            results.append([y, *gradients, norm.running_mean, norm.running_var])
            if fused:  # sums are made in one order
                again = norm(leaves[0], scale=leaves[1], shift=leaves[2], slope=0.2)
                repeated = torch.autograd.grad(again.float().pow(2).mean() * 1e4, leaves)
                assert all(one.equal(other) for one, other in zip((y, *gradients), (again, *repeated), strict=True))
                norm.reset_running_stats()
                norm(x, scale=scale, shift=shift)
                results[0][-2:] = [norm.running_mean, norm.running_var]
        for ours, theirs in zip(*results, strict=True):
            bound = (1e-3 if dtype is torch.float32 else 2e-2) * (1 + theirs.abs().max().item())
            torch.testing.assert_close(ours.float(), theirs.float(), rtol=0, atol=bound)
    replayed_is_called(lambda x: batch_normalised(x, None, None, eps=1e-3, slope=0.0, fused=True)[0])


def test_the_images_of_all_steps_in_one_pass_are_those_of_a_pass_each(tmp_path: Path) -> None:
    keys: list[dict[str, Any]] = [{"kind": "plain"}, {"kind": "gconv"}, {"kind": "gconv", "mode": "bank"}]
    for conv in keys:
        config = tiny(tmp_path, generator={"conv": conv})
        joined, apart = (copy.deepcopy(build_networks(config, 10)[0]).cuda().double() for _ in range(2))
        apart.load_state_dict(joined.state_dict())
        numbers = torch.arange(5 * 16, device="cuda")
        z, y = draw_latents(0, "test", numbers, latent_dim=6).double(), draw_labels(0, "test", numbers, num_classes=10)
        none = [None] * 6
        steps = [DiscriminatorInputs(one, of, one, of, *none) for one, of in zip(z.split(16), y.split(16), strict=True)]
        assert steps_in_a_pass(joined, steps[0].z, steps[0].fake_labels, steps=5) == 5
        found = [step.fakes for step in with_fakes(joined, steps)]
        with torch.no_grad():
            expected = [apart(step.z, step.fake_labels) for step in steps]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
        for name, buffer in joined.named_buffers():
            torch.testing.assert_close(buffer, apart.get_buffer(name), rtol=1e-9, atol=1e-10)


def test_forms_are_measured_once(tmp_path: Path, cache: Path) -> None:
    option = {"generator": {"width": 16, "conv": {"kind": "gconv", "mode": "bank"}}}
    for name in ("cuda_graph", "eager"):
        run(tmp_path, name, option, cache)
    entries = list(json.loads((cache / forms.FILE).read_text()).values())
    print([(entry["form"], entry["ms"], entry["bytes"]) for entry in entries])
    assert any({"grouped", "wide"} & entry["bytes"].keys() for entry in entries)
    for entry in entries:
        assert 0 < min(entry["ms"].values()) < 1000
        assert min(entry["bytes"].values()) > 0
    states = [tmp_path / name / "tiny" / "checkpoint-160" / STATE for name in ("cuda_graph", "eager")]
    stored = [json.loads(state.read_text())["forms"] for state in states]
    assert stored[0] == stored[1]


def test_a_captured_extractor_needs_no_more_memory_with_every_batch(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity")
    from gconv_gan.commands.cost.bench import random_inception
    from gconv_gan.metrics.extractors.inception import InceptionExtractor

    extractor = InceptionExtractor(random_inception(tmp_path / "inception.pth"), expected_sha256=None, device=torch.device("cuda"))
    pixels = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8, device="cuda")
    for _ in range(4):
        extractor(pixels)
    before = torch.cuda.memory_reserved()
    for _ in range(4):
        extractor(pixels)
    print(f"memory reserved with the captured extractor: {before / 2**30:.2f} GiB")
    assert torch.cuda.memory_reserved() == before
    assert before < 8 * 2**30


def test_the_layout_is_measured_once(tmp_path: Path, cache: Path) -> None:
    for name in ("cuda_graph", "eager"):
        run(tmp_path, name, {"generator": {"width": 16}}, cache)
    entries = json.loads((cache / layouts.FILE).read_text()).values()
    assert len(entries) >= 2
    for entry in entries:
        assert entry["layout"].removesuffix("_fused") in ("channels_last", "contiguous")
        assert 0 < min(entry["channels_last"], entry["contiguous"]) < 1000
    states = [tmp_path / name / "tiny" / "checkpoint-160" / STATE for name in ("cuda_graph", "eager")]
    stored = [json.loads(state.read_text())["layouts"] for state in states]
    assert stored[0] == stored[1]
    assert stored[0].keys() == {"generator", "discriminator"}
