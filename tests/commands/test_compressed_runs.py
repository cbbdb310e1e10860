"""Runs that a method made smaller, in every command: they are read with their structure, or refused in one sentence."""

import shutil
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

import gconv_gan
from gconv_gan.commands import export, gallery, sample
from gconv_gan.commands.cost import compression
from gconv_gan.commands.score import classifier_card, score_curve, scores
from gconv_gan.commands.studies import curvature, lipschitz
from gconv_gan.commands.train import classifier, gan
from gconv_gan.commands.train.networks import load_run
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from tests.methods.examples import EXAMPLES, NARROW
from tests.training.tiny import tiny
from tests.training.tiny_classifier import tiny_classifier

METHODS = [kind for kind, example in EXAMPLES.items() if example.changes_structure]
SHORT: dict[str, Any] = {"total_images": 96, "checkpoint_every": 32, "log_every": 96}
FEW = ["--num-fake", "40", "--num-real", "40"]


@pytest.mark.parametrize("method", METHODS)
def test_a_compressed_gan_is_read_by_every_command(method: str, judge: Path, tmp_path: Path) -> None:
    section = EXAMPLES[method].section(method, "generator", "discriminator")
    gan.fit(tiny(tmp_path, name="whole", trainer=SHORT))
    constant = {"name": "small", "methods": [section], "schedule": {"kind": "constant"}}
    gan.fit(tiny(tmp_path, trainer=SHORT, **constant))
    run, whole = tmp_path / "small", tmp_path / "whole"
    before = sum(parameter.numel() for parameter in load_run(run).generator().parameters())
    gan.fit(tiny(tmp_path, trainer={**SHORT, "total_images": 128}, **constant))
    assert load_run(run).images_seen == 128
    count = sum(parameter.numel() for parameter in load_run(run).generator().parameters())
    assert count <= before < sum(parameter.numel() for parameter in load_run(whole).generator().parameters())
    cache = ["--cache-dir", str(tmp_path / "cache")]
    scores.main([str(run), "--extractor", f"checkpoint:{judge}", *FEW, *cache])
    score_curve.main([str(run), "--extractor", f"checkpoint:{judge}", *FEW, *cache])
    gallery.main([str(run), "--out", str(tmp_path / "gallery"), *cache])
    gallery.main([str(whole), str(run), "--out", str(tmp_path / "pair"), *cache])
    lipschitz.main([str(run)])
    for player in ("generator", "discriminator"):
        curvature.main([str(run), "--player", player, "--batches", "2", "--steps", "3", "--probes", "1", *cache])
    compression.main([str(run), "--repeats", "3", "--batch", "2"])
    export.main([str(run), "--out", str(tmp_path / "exported")])
    sample.main([str(tmp_path / "exported"), "--num", "4", "--out", str(tmp_path / "exported.zip")])
    model, exported = gconv_gan.load(run), gconv_gan.load(tmp_path / "exported")
    assert torch.equal(model.sample(4, seed=0), exported.sample(4, seed=0))
    assert sum(parameter.numel() for parameter in model.generator.parameters()) == count
    session = onnxruntime.InferenceSession(tmp_path / "exported" / "generator.onnx")
    inputs = {"z": torch.randn(2, 6), "y": torch.tensor([1, 2])}
    named = dict(zip([one.name for one in session.get_inputs()], inputs.values(), strict=True))
    found = torch.as_tensor(session.run(None, {name: value.numpy() for name, value in named.items()})[0])
    torch.testing.assert_close(found, model.generator(*inputs.values()), rtol=0, atol=1e-4)


def test_a_gan_that_started_from_a_compressed_one_is_read_by_every_command(judge: Path, tmp_path: Path) -> None:
    once = {**SHORT, "total_images": 32}
    gan.fit(tiny(tmp_path, name="small", trainer=once, methods=[EXAMPLES["taylor"].section("taylor", "generator", "discriminator")]))
    export.main([str(tmp_path / "small"), "--out", str(tmp_path / "exported")])
    gan.fit(tiny(tmp_path, name="first", trainer=once, start_from=str(tmp_path / "exported")))
    small, first = load_run(tmp_path / "small"), load_run(tmp_path / "first")
    assert first.changes == [{**small.changes[0], "networks": ["generator"]}]
    count = sum(parameter.numel() for parameter in small.generator().parameters())
    whole, cut = (sum(parameter.numel() for parameter in one.discriminator().parameters()) for one in (first, small))
    assert cut < whole  # the exported folder has none
    run, cache = tmp_path / "second", ["--cache-dir", str(tmp_path / "cache")]
    gan.fit(tiny(tmp_path, name="second", trainer=once, start_from=str(tmp_path / "first")))
    scores.main([str(run), "--extractor", f"checkpoint:{judge}", *FEW, *cache])
    gallery.main([str(run), "--out", str(tmp_path / "gallery"), *cache])
    curvature.main([str(run), "--player", "generator", "--batches", "2", "--steps", "3", "--probes", "1", *cache])
    compression.main([str(run), "--repeats", "3", "--batch", "2"])
    export.main([str(run), "--out", str(tmp_path / "again")])
    model, exported = gconv_gan.load(run), gconv_gan.load(tmp_path / "again")
    assert torch.equal(model.sample(4, seed=0), exported.sample(4, seed=0))
    assert sum(parameter.numel() for parameter in exported.generator.parameters()) == count


@pytest.mark.parametrize("method", METHODS)
def test_a_compressed_classifier_is_read_by_every_command(method: str, tiny_run: Path, tmp_path: Path) -> None:
    section = EXAMPLES[method].section(method, "classifier")
    classifier.fit(tiny_classifier(tmp_path, name="small", trainer=SHORT, methods=[section], **NARROW))
    run, cache = tmp_path / "small", ["--cache-dir", str(tmp_path / "cache")]
    count = sum(parameter.numel() for parameter in load_classifier(run)[0].parameters())
    classifier_card.main([str(run), "--changed-images", "8", "--repeats", "1", *cache])
    curvature.main([str(run), "--batches", "2", "--steps", "3", "--probes", "1", *cache])
    compression.main([str(run), "--repeats", "3", "--batch", "2"])
    scores.main([str(tiny_run), "--extractor", f"checkpoint:{run}", *FEW, *cache, "--json", str(tmp_path / "scores.json")])
    assert sum(parameter.numel() for parameter in gconv_gan.load(run).network.parameters()) == count
    long = tiny_classifier(tmp_path, name="next", trainer={**SHORT, "checkpoint_every": 48}, start_from=str(run), **NARROW)
    classifier.fit(long)
    whole = (tmp_path / "next" / "model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "next" / "checkpoint-96")  # as if killed before it
    classifier.fit(long)
    assert (tmp_path / "next" / "model.safetensors").read_bytes() == whole
    assert sum(parameter.numel() for parameter in load_classifier(tmp_path / "next")[0].parameters()) == count
