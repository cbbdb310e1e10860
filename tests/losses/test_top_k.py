"""Top-k training (arXiv 2002.06224)."""

import pytest
import torch

from gconv_gan.losses.top_k import TopK, top_k_count


@pytest.mark.parametrize(
    ("images", "k"), [(0, 64), (49_999, 64), (50_000, 63), (100_000, 62), (34 * 50_000, 45), (69 * 50_000, 32), (10**9, 32)]
)
def test_k_falls_by_a_hundredth_every_epoch_down_to_half_the_batch(images: int, k: int) -> None:
    assert top_k_count(64, images, final_fraction=0.5, decay=0.99, decay_images=50_000) == k


def test_k_is_at_least_one_and_at_most_the_batch() -> None:
    assert top_k_count(3, 10**9, final_fraction=0.01, decay=0.5, decay_images=1) == 1
    assert top_k_count(64, 10**9, final_fraction=1.0, decay=0.5, decay_images=1) == 64


def weights(logits: torch.Tensor, k: int) -> torch.Tensor:
    factors = TopK(batch_size=len(logits), final_fraction=k / len(logits), decay=0.5, decay_images=1)
    factors.begin(10**9)
    result: torch.Tensor = factors(logits)
    return result


def test_weights_turn_a_mean_into_the_mean_of_the_best() -> None:
    logits = torch.tensor([0.1, -2.0, 3.0, 0.7])
    losses = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    assert weights(logits, 2).tolist() == [0.0, 0.0, 2.0, 2.0]
    assert (losses * weights(logits, 2)).mean().item() == 550.0


def test_of_equal_logits_exactly_k_are_chosen() -> None:
    assert weights(torch.zeros(8), 3).count_nonzero() == 3


def test_before_k_falls_all_count_the_same() -> None:
    factors = TopK(batch_size=4, final_fraction=0.5, decay=0.5, decay_images=100)
    factors.begin(99)
    assert factors(torch.tensor([0.1, -2.0, 3.0, 0.7])).tolist() == [1.0] * 4
