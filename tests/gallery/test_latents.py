import math

import pytest
import torch

from gconv_gan.gallery.latents import class_sheet, fixed_labels, fixed_latents, numbered_sheet, random_sheet, slerp, slerp_sheet


def pair(dimension: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.randn(2, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return a, 3 * b


def test_slerp_starts_and_ends_at_its_ends_and_its_norm_is_linear() -> None:
    a, b = pair()
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    walk = slerp(a, b, t)
    torch.testing.assert_close(walk[[0, -1]], torch.stack([a, b]), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(walk.norm(dim=1), (1 - t) * a.norm() + t * b.norm(), rtol=1e-13, atol=0)


def test_slerp_moves_at_constant_angular_speed_in_the_plane_of_its_ends() -> None:
    a, b = pair()
    walk = slerp(a, b, torch.linspace(0, 1, 6, dtype=torch.float64))
    directions = walk / walk.norm(dim=1, keepdim=True)
    angles = (directions[:-1] * directions[1:]).sum(1).arccos()
    whole = math.acos(float((a / a.norm()) @ (b / b.norm())))
    torch.testing.assert_close(angles, torch.full((5,), whole / 5, dtype=torch.float64), rtol=1e-9, atol=0)
    assert int(torch.linalg.matrix_rank(walk)) == 2


def test_slerp_backwards_is_the_same_walk() -> None:
    a, b = pair()
    t = torch.linspace(0, 1, 7, dtype=torch.float64)
    torch.testing.assert_close(slerp(b, a, 1 - t), slerp(a, b, t), rtol=1e-12, atol=1e-12)


def test_slerp_of_a_quarter_turn() -> None:
    half = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5]))
    torch.testing.assert_close(half, torch.full((1, 2), math.sqrt(0.5)))


@pytest.mark.parametrize("tilt", [0.0, 1e-12, 1e-9, 1e-7, 1e-5])
def test_slerp_of_nearly_parallel_vectors_is_nearly_linear(tilt: float) -> None:
    a = torch.tensor([2.0, 0.0], dtype=torch.float64)
    b = torch.tensor([4.0, 4.0 * tilt], dtype=torch.float64)
    t = torch.tensor([0.25, 0.5], dtype=torch.float64)
    walk = slerp(a, b, t)
    torch.testing.assert_close(walk[:, 0], torch.tensor([2.5, 3.0], dtype=torch.float64), rtol=1e-9, atol=0)
    torch.testing.assert_close(walk[:, 1], tilt * t * walk[:, 0], rtol=1e-6, atol=0)


def test_slerp_without_a_shortest_great_circle_is_refused() -> None:
    a, _ = pair()
    with pytest.raises(ValueError, match="opposite"):
        slerp(a, -2 * a, torch.tensor([0.5]))
    with pytest.raises(ValueError, match="zero"):
        slerp(a, 0 * a, torch.tensor([0.5]))


def test_a_latent_depends_on_seed_purpose_and_index_alone() -> None:
    many = fixed_latents(1, "a", count=40, latent_dim=5)
    assert torch.equal(fixed_latents(1, "a", count=7, latent_dim=5), many[:7])
    assert torch.equal(fixed_labels(1, "a", count=3, num_classes=9), fixed_labels(1, "a", count=30, num_classes=9)[:3])
    assert not torch.isclose(many, fixed_latents(2, "a", count=40, latent_dim=5)).any()
    assert not torch.isclose(many, fixed_latents(1, "b", count=40, latent_dim=5)).any()
    assert abs(float(many.mean())) < 0.25
    assert abs(float(many.std()) - 1) < 0.2


def test_a_class_sheet_has_a_class_a_row_and_a_latent_a_column() -> None:
    sheet = class_sheet(0, "classes", classes=[2, 5, 7], columns=4, latent_dim=6)
    assert sheet.y is not None
    assert sheet.y.view(3, 4).tolist() == [[2] * 4, [5] * 4, [7] * 4]
    rows = sheet.z.view(3, 4, 6)
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0, 0], rows[0, 1])


def test_a_slerp_sheet_keeps_the_class_of_a_row_and_uses_fresh_ends_in_each() -> None:
    sheet = slerp_sheet(0, "slerp", rows=4, columns=5, latent_dim=6, num_classes=3)
    ends = fixed_latents(0, "slerp", count=8, latent_dim=6)
    torch.testing.assert_close(sheet.z.view(4, 5, 6)[:, [0, -1]].flatten(0, 1), ends)
    assert sheet.y is not None
    assert sheet.y.view(4, 5)[:, 0].tolist() == [0, 1, 2, 0]
    assert (sheet.y.view(4, 5) == sheet.y.view(4, 5)[:, :1]).all()


def test_an_unconditional_sheet_has_no_classes() -> None:
    assert random_sheet(0, "x", count=6, latent_dim=4, num_classes=None).y is None
    assert slerp_sheet(0, "x", rows=2, columns=3, latent_dim=4, num_classes=None).y is None


def test_truncated_rows_keep_their_number() -> None:
    size = {"latent_dim": 30, "num_classes": 3}
    whole, truncated = (numbered_sheet(0, count=6, threshold=threshold, **size) for threshold in (None, 1.0))
    assert truncated.z.abs().max() <= 1
    assert torch.equal(truncated.z.sign(), whole.z.sign())
    assert torch.equal(numbered_sheet(0, count=2, threshold=1.0, **size).z, truncated.z[:2])


def test_a_label_changes_the_classes_of_numbered_images_alone() -> None:
    drawn, chosen = (numbered_sheet(1, count=40, latent_dim=4, num_classes=3, label=label) for label in (None, 2))
    assert torch.equal(drawn.z, chosen.z)
    assert set(drawn.y.tolist()) == {0, 1, 2}
    assert set(chosen.y.tolist()) == {2}
