"""Cross-entropy with smoothed and mixed labels, against an explicit formula."""

import pytest
import torch

from gconv_gan.losses.classification import mixed_cross_entropy

LOGITS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS, OTHERS = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([1, 1, 0, 4, 2, 3])


@pytest.mark.parametrize("weight", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_cross_entropy_with_the_mixed_and_smoothed_target(weight: float, smoothing: float) -> None:
    eye = torch.eye(5, dtype=torch.float64)
    target = weight * eye[LABELS] + (1 - weight) * eye[OTHERS]
    target = (1 - smoothing) * target + smoothing / 5
    expected = -(target * LOGITS.log_softmax(1)).sum(1).mean()
    factor = None if weight == 1 else torch.tensor(weight)
    torch.testing.assert_close(mixed_cross_entropy(LOGITS, LABELS, OTHERS, weight=factor, smoothing=smoothing), expected)
