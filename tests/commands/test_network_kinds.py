"""Every kind of network, from config or command line to a finished, resumed and scored run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gconv_gan.commands.score.scores import main
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import build_networks, load_run
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import apply_overrides, merged, validated
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.metrics.score_card import Score
from tests.training.interrupted import At, PowerCutError, fit_with, power_cut
from tests.training.tiny import TINY, final_files, tiny

MAPPED_BIGGAN: dict[str, Any] = {
    "generator": {
        "kind": "biggan",
        "width": 8,
        "latent_dim": 6,
        "shared_dim": 4,
        "attention": [8],
        "orthogonal": 5e-5,
        "mapping": {"kind": "mlp", "width": 8, "depth": 2},
    },
    "discriminator": {"kind": "biggan", "width": 8, "attention": [4]},
    "trainer": {"total_images": 192, "checkpoint_every": 64},
}


@pytest.fixture(scope="module")
def mapped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mapped")
    recipe.fit(tiny(folder, **MAPPED_BIGGAN))
    return folder


def test_kind_on_the_command_line_keeps_what_the_kinds_share(tmp_path: Path) -> None:
    flags = ["--generator.kind", "biggan", "--generator.shared-dim", "16", "--generator.attention", "8", "--discriminator.kind", "dcgan"]
    config = apply_overrides(tiny(tmp_path), flags)
    generator = config.generator
    assert generator.kind == "biggan"
    assert (generator.width, generator.latent_dim, generator.conv.kind) == (8, 6, "gconv")
    assert (generator.shared_dim, generator.attention, generator.spectral_norm) == (16, (8,), True)
    assert config.discriminator.kind == "dcgan"
    assert validated(GANRunConfig, json.loads(config.model_dump_json()), "saved") == config
    flags = ["--generator.mapping.kind", "mlp", "--generator.mapping.width", "12", "--generator.kind", "skip"]
    mapped = apply_overrides(config, flags)
    assert (mapped.generator.kind, mapped.generator.mapping.kind, mapped.generator.mapping.width) == ("skip", "mlp", 12)


def test_a_file_without_a_kind_means_resnet_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    assert tiny(tmp_path).generator.kind == "resnet"
    with pytest.raises(UserError, match=r"generator\.kind = 'bigan' is not among .*did you mean 'biggan'"):
        tiny(tmp_path, generator={"kind": "bigan"})
    with pytest.raises(UserError, match=r"unknown key 'generator\.atention'; did you mean 'attention'"):
        tiny(tmp_path, generator={"kind": "biggan", "width": 8, "atention": [8]})
    with pytest.raises(UserError, match=r"--generator\.kind 'bigan' is not among .*did you mean 'biggan'"):
        apply_overrides(tiny(tmp_path), ["--generator.kind", "bigan"])
    data = merged(TINY, {"generator": {"kind": "skip"}})
    with pytest.raises(UserError, match=r"key 'generator\.width' is required"):
        validated(GANRunConfig, data, "tiny")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "biggan", "width": 8, "latent_dim": 7}, "latent_dim 7 does not divide into 2 chunks at 8 px: take 8"),
        ({"attention": [64]}, "no block ends at 64 px for attention to follow: they end at 8 px"),
        ({"norm": {"kind": "none"}}, "the generator does not depend on the class"),
        (
            {"kind": "skip", "width": 8, "conv": {"kind": "gconv", "granularity": "filter"}},
            "granularity and strategy belong to mode='bank'",
        ),
    ],
)
def test_networks_that_do_not_exist_are_refused_in_one_sentence(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"networks for data.size = 8: .*{sentence}"):
        build_networks(tiny(tmp_path, generator=changes), 10)


@pytest.mark.parametrize("kind", ["dcgan", "skip"])
def test_a_run_of_each_kind(kind: str, tmp_path: Path) -> None:
    generator, discriminator = {"kind": kind, "width": 8, "latent_dim": 6}, {"kind": kind, "width": 8}
    recipe.fit(tiny(tmp_path, generator=generator, discriminator=discriminator, trainer={"total_images": 32}))
    assert load_run(tmp_path / "tiny").generator()(torch.randn(2, 6), torch.tensor([0, 1])).shape == (2, 3, 8, 8)


def test_a_killed_run_with_mapping_spectral_norm_and_attention_ends_with_the_bits_of_an_uninterrupted_one(
    mapped_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PowerCutError):
        fit_with(monkeypatch, At(144, power_cut), tmp_path, **MAPPED_BIGGAN)
    recipe.fit(tiny(tmp_path, **MAPPED_BIGGAN))
    assert final_files(tmp_path, 192) == final_files(mapped_run, 192)
    tensors = load_file(mapped_run / "tiny" / "checkpoint-192" / "ema.safetensors")
    assert tensors["w_mean"].any()
    powers = [tensor.norm() for name, tensor in tensors.items() if name.endswith("._u") and tensor.ndim == 1]
    torch.testing.assert_close(torch.stack(powers), torch.ones(len(powers)), rtol=0, atol=1e-5)


def scored(run: Path, judge: Path, folder: Path, *flags: str) -> Score:
    out = folder / "scores.json"
    small = ["--num-fake", "120", "--num-real", "90", "--metrics", "fid", "--extractor", f"checkpoint:{judge}"]
    main([str(run), *small, "--cache-dir", str(folder / "cache"), "--json", str(out), *flags])
    return Score.model_validate_json(out.read_text())


def test_truncation_of_w_and_of_z_changes_scores_and_is_on_the_card(mapped_run: Path, tiny_run: Path, judge: Path, tmp_path: Path) -> None:
    copies = [Path(shutil.copytree(run, tmp_path / letter)) for run, letter in ((mapped_run / "tiny", "w"), (tiny_run, "z"))]
    for run in copies:
        letter = run.name
        whole, half = scored(run, judge, tmp_path), scored(run, judge, tmp_path, "--truncation", "0.5")
        assert (whole.card.fakes.truncation, whole.card.fakes.truncated) == (None, None)
        assert (half.card.fakes.truncation, half.card.fakes.truncated) == (0.5, letter)
        assert whole.card.fakes.images_sha256 != half.card.fakes.images_sha256
        assert any("truncation0.5" in path.name for path in (run / "scores").glob("*.json"))
    standing = scored(copies[0], judge, tmp_path, "--truncation", "0.5", "--batch-norm", "standing")
    assert standing.card.fakes.batch_norm == "standing, 16 batches of 64"
    with pytest.raises(UserError, match="truncation"):
        scored(copies[1], judge, tmp_path, "--truncation", "0")
