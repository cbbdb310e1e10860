"""Parts of a discriminator that do not go together, and batch-coupled norms under a gradient penalty, are refused in a sentence."""

from pathlib import Path
from typing import Any

import pytest

from gconv_gan.config.errors import UserError
from tests.training.tiny import tiny

R1 = {"objective": {"penalty": {"kind": "r1"}}}


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"block_norm": {"kind": "batch"}}, 'discriminator.block_norm.kind = "batch"'),
        ({"block_norm": {"kind": "iter"}}, 'discriminator.block_norm.kind = "iter"'),
        ({"block_norm": {"kind": "group_plus"}}, 'discriminator.block_norm.kind = "group_plus"'),
        ({"conv": {"kind": "invariant", "whiten": True}, "norm": {"kind": "none"}}, "discriminator.conv.whiten = true"),
        ({"norm": {"kind": "conv_norm", "bn": True}}, "discriminator.norm.bn = true"),
    ],
)
def test_a_penalty_refuses_logits_of_a_whole_batch(tmp_path: Path, parts: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=f'{named} lets an image.s logit depend .* objective.penalty.kind = "r1"'):
        tiny(tmp_path, discriminator=parts, **R1)
    assert tiny(tmp_path, discriminator=parts).discriminator.coupling == named


@pytest.mark.parametrize("parts", [{"block_norm": {"kind": "group"}}, {"conv": {"kind": "invariant"}}, {}])
def test_parts_that_do_not_couple_images_are_accepted_with_a_penalty(tmp_path: Path, parts: dict[str, Any]) -> None:
    assert tiny(tmp_path, discriminator=parts, **R1).discriminator.coupling is None


def test_a_normalised_kernel_is_not_whitened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='undoes discriminator.norm.kind = "spectral"'):
        tiny(tmp_path, discriminator={"conv": {"kind": "invariant", "whiten": True}})
    with pytest.raises(UserError, match="choose one of them"):
        tiny(tmp_path, discriminator={"conv": {"kind": "invariant"}, "norm": {"kind": "conv_norm"}})
