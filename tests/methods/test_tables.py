"""Methods listed in configs of GANs and classifiers: they act, are restored on resume, and are refused if they cannot act."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import apply_overrides
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

SHORT: dict[str, Any] = {"trainer": {"total_images": 96, "checkpoint_every": 96}}


def test_a_run_with_the_keys_of_an_earlier_version_is_trained_as_listed_and_resumes(tmp_path: Path) -> None:
    """Orthogonal regularisation had a key of each network: a saved config.json still has them."""
    recipe.fit(tiny(tmp_path / "listed", methods=[{"kind": "orthogonal", "generator": 1e-3}], **SHORT))
    recipe.fit(tiny(tmp_path / "none", **SHORT))
    listed = final_files(tmp_path / "listed", 96)["generator.safetensors"]
    assert listed != final_files(tmp_path / "none", 96)["generator.safetensors"]
    for name, weight in (("listed", 1e-3), ("none", 0.0)):
        saved = tmp_path / name / "tiny" / "config.json"
        data = json.loads(saved.read_text())
        data.pop("methods", None)
        data["generator"]["orthogonal"], data["discriminator"]["orthogonal"] = weight, 0.0
        saved.write_text(json.dumps(data))
        assert len(load_run(tmp_path / name / "tiny").config.methods) == (weight > 0)
    with pytest.raises(UserError, match=r"other settings: methods: "):
        recipe.fit(tiny(tmp_path / "listed", **SHORT))
    recipe.fit(tiny(tmp_path / "listed", methods=[{"kind": "orthogonal", "generator": 1e-3}], **SHORT))
    recipe.fit(tiny(tmp_path / "keys", generator={"orthogonal": 1e-3}, **SHORT))
    assert listed == final_files(tmp_path / "keys", 96)["generator.safetensors"]


def test_a_key_of_an_earlier_version_stands_before_the_listed_methods(tmp_path: Path) -> None:
    anneal = {"kind": "gate_temperature", "images": 100}
    keys = {"generator": {"orthogonal": 1e-3}, "discriminator": {"orthogonal": 2e-3}}
    config = tiny(tmp_path, **keys, methods=[anneal])
    assert config == tiny(tmp_path, methods=[{"kind": "orthogonal", "generator": 1e-3, "discriminator": 2e-3}, anneal])
    with pytest.raises(UserError, match=r"option --generator\.orthogonal; the method of this name adds it, --methods\.0\.kind orthogonal"):
        apply_overrides(config, ["--generator.orthogonal", "1e-3"])
    added = apply_overrides(tiny(tmp_path), ["--methods.0.kind", "orthogonal", "--methods.0.generator", "1e-3"])
    assert added == tiny(tmp_path, methods=[{"kind": "orthogonal", "generator": 1e-3}])


def test_a_classifier_takes_methods_too(tmp_path: Path) -> None:
    classifier_recipe.fit(tiny_classifier(tmp_path / "with", methods=[{"kind": "orthogonal", "classifier": 1e-2}], **SHORT))
    classifier_recipe.fit(tiny_classifier(tmp_path / "without", **SHORT))
    ours, theirs = (load_file(tmp_path / name / "tiny" / "model.safetensors") for name in ("with", "without"))
    assert any(not ours[name].equal(theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (
            {"kind": "orthogonal", "classifier": 1.0},
            "needs a weight above 0 of a network of the run, which has generator and discriminator",
        ),
        ({"kind": "orthogonal"}, "needs a weight above 0 of a network of the run"),
        ({"kind": "orthogonal", "generator": -1.0}, r"methods\.0\.generator: .* greater than or equal to 0, got -1"),
        ({"kind": "ortogonal"}, r"methods\.0\.kind = 'ortogonal' is not among .*did you mean 'orthogonal'"),
    ],
)
def test_a_method_that_cannot_act_is_refused_in_one_sentence(method: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe.fit(tiny(tmp_path, methods=[method], **SHORT))
    assert not (tmp_path / "tiny").exists()


def test_gates_that_are_not_there_have_no_temperature(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kernel gates of a generator, but this run has none"):
        recipe.fit(tiny(tmp_path, generator={"conv": {"kind": "plain"}}, methods=[{"kind": "gate_temperature"}], **SHORT))
