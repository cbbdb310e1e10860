"""Consistency regularisation of logits (arXiv 1910.12027, 2002.04724)."""

import pytest
import torch

from gconv_gan.losses.consistency import Consistency


def test_the_penalty_is_that_of_the_equation() -> None:
    real, fake, real_twin, fake_twin = torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 4.0], [3.0, 1.0]])
    assert Consistency(10.0, 2.0)(real, fake, real_twin, fake_twin).item() == pytest.approx(10 * 4 / 2 + 2 * 10 / 2)


def test_gradients_flow_through_both_logits() -> None:
    logits = torch.tensor([[1.0], [1.0], [0.0], [0.0]], requires_grad=True)
    Consistency(10.0, 10.0)(*logits).backward()
    assert logits.grad.flatten().tolist() == [20.0, 20.0, -20.0, -20.0]
