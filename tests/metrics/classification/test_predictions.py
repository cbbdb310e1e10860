"""Accuracy, likelihood and calibration against loops and known cases."""

import numpy as np
import pytest
import torch

from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.metrics.classification.predictions import expected_calibration_error, hits, negative_log_likelihood, predictions
from gconv_gan.models.classifiers.digits_classifier import DigitsClassifier
from tests.data.made import in_memory, noise

LOGITS = torch.randn(400, 7, generator=torch.Generator().manual_seed(0)) * 2
LABELS = torch.randint(7, (400,), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_hit_is_a_label_among_the_largest(k: int) -> None:
    expected = [
        float(label in sorted(range(7), key=row.__getitem__)[-k:]) for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True)
    ]
    assert hits(LOGITS, LABELS, k=k).tolist() == expected


def test_k_above_the_number_of_classes_counts_every_image() -> None:
    assert hits(LOGITS, LABELS, k=10).mean() == 1


def test_the_likelihood_is_that_of_the_softmax() -> None:
    probabilities = np.exp(LOGITS.double().numpy())
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = -np.log(probabilities[np.arange(400), LABELS.numpy()])
    np.testing.assert_allclose(negative_log_likelihood(LOGITS.double(), LABELS).numpy(), expected, rtol=1e-12)


def test_the_calibration_error_is_the_sum_over_the_bins() -> None:
    probabilities = LOGITS.double().softmax(1).numpy()
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence > low) & (confidence <= low + 0.1)
        if inside.any():
            gap = abs((predicted == LABELS.numpy())[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    assert expected_calibration_error(LOGITS, LABELS, bins=10) == pytest.approx(expected, abs=1e-9)


def test_calibration_error_of_certain_predictions() -> None:
    sure = torch.eye(7)[LABELS] * 100
    assert expected_calibration_error(sure, LABELS) == pytest.approx(0, abs=1e-9)
    assert expected_calibration_error(sure, (LABELS + 1) % 7) == pytest.approx(1, abs=1e-9)


def test_confidence_equal_to_accuracy_has_no_calibration_error() -> None:
    logits = torch.tensor([[np.log(3.0), 0.0]]).expand(4, 2)  # confidence 3/4
    assert expected_calibration_error(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(0, abs=1e-7)
    assert expected_calibration_error(logits, torch.tensor([0, 0, 1, 1])) == pytest.approx(0.25, abs=1e-7)


def test_predictions_are_the_networks_in_the_order_of_the_file_and_shares_make_the_whole() -> None:
    torch.manual_seed(0)
    network = DigitsClassifier(num_classes=3, image_size=8, width=8)
    dataset = in_memory(noise(0, 23, 3, 10, 10), [i % 3 for i in range(23)], ("a", "b", "c"))
    data = HeldOut(dataset, size=8, indices=np.array([22, 3, 4, 5, 9, 10, 0]))
    network.train()
    logits, labels = predictions(network, data, batch_size=3)
    images = torch.from_numpy(dataset.images[[22, 3, 4, 5, 9, 10, 0]][:, :, 1:9, 1:9]).float() / 127.5 - 1
    with torch.no_grad():
        torch.testing.assert_close(logits, network(images), rtol=1e-4, atol=1e-5)
    assert labels.tolist() == [1, 0, 1, 2, 0, 1, 0]
    assert network.training
    shares = [predictions(network, data, batch_size=3, index=index, processes=2)[1] for index in range(2)]
    assert shares[0].tolist() == [1, 1, 0, 0]
    assert shares[1].tolist() == [0, 2, 1]
    assert len(data) == 7
