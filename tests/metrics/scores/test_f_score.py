"""The F-score of precision and recall: torch-fidelity's number, and its ends."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from gconv_gan.metrics.neighbours import neighbourhoods
from gconv_gan.metrics.scores.f_score import f_score

_draw = np.random.RandomState(5)  # noqa: NPY002  (the constant is defined by this stream)
FAKE, REAL = torch.from_numpy(_draw.randn(300, 8)), torch.from_numpy(1.3 * _draw.randn(400, 8))


def test_equals_torch_fidelity() -> None:
    found = neighbourhoods(FAKE, REAL, k=3, comparison="<=")
    theirs = prc_features_to_metric(FAKE, REAL, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False)["f_score"]
    assert f_score(found.precision, found.recall) == pytest.approx(theirs, rel=1e-6)
    assert f_score(found.precision, found.recall) == pytest.approx(0.727794, abs=1e-6)


def test_it_is_low_where_either_is_low() -> None:
    assert f_score(1.0, 1.0) == 1
    assert f_score(0.4, 0.4) == pytest.approx(0.4)
    assert f_score(1.0, 0.0) == f_score(0.0, 1.0) == f_score(0.0, 0.0) == 0
    assert f_score(1.0, 0.1) < 0.2
