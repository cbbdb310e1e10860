"""Blocks that are kept do not move by a bit while the others train; what cannot be kept is refused."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from gconv_gan.commands.train import gan
from gconv_gan.config.errors import UserError
from tests.training.tiny import tiny

KINDS = {"resnet": ("blocks.0.", "blocks.1."), "dcgan": ("convs.0.", "convs.1."), "skip": ("blocks.0.", "blocks.1.")}


@pytest.mark.parametrize("kind", KINDS)
def test_kept_blocks_do_not_move(kind: str, tmp_path: Path) -> None:
    kept, moved = KINDS[kind]
    networks = {name: {"kind": kind, "width": 8} for name in ("generator", "discriminator")} | {"data": {"size": 16}}
    gan.fit(tiny(tmp_path, name="source", trainer={"total_images": 64}, **networks))
    source = tmp_path / "source"
    gan.fit(tiny(tmp_path, name="tuned", start_from=str(source), methods=[{"kind": "frozen_blocks", "blocks": 1}], **networks))
    before = load_file(source / "checkpoint-64" / "discriminator.safetensors")
    (last,) = sorted((tmp_path / "tuned").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))[-1:]
    after = load_file(last / "discriminator.safetensors")
    weights = [name for name in before if name.endswith(("weight", "bias", "weight.original"))]
    assert any(name.startswith(kept) for name in weights)
    assert all(after[name].equal(before[name]) for name in weights if name.startswith(kept))
    assert not all(after[name].equal(before[name]) for name in weights if name.startswith(moved))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": [{"kind": "frozen_blocks", "blocks": 9}]}, "of which 9 would be kept: give fewer"),
        (
            {"methods": [{"kind": "frozen_blocks"}], "discriminator_optimizer": {"kind": "adamw", "weight_decay": 0.1}},
            "weight decay moves weights that have no gradient",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        gan.fit(tiny(tmp_path, **changes))
    assert not (tmp_path / "tiny").exists()
