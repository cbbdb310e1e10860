"""Statistics between status lines, and the guard against non-finite numbers: both are computed on the device."""

import pytest
import torch
from accelerate import Accelerator

from gconv_gan.training.guards import FiniteGuard, NotFiniteError
from gconv_gan.training.report import Means


def test_statistics_are_added_to_the_same_tensors_and_read_once_a_line() -> None:
    accelerator, means = Accelerator(cpu=True), Means()
    values = torch.zeros(2)
    with_penalty = {"loss_d": values[0], "penalty": values[1]}  # as a replayed graph, whose outputs keep their address
    addresses = set()
    for _ in range(2):
        for loss, penalty in ((1.0, 4.0), (3.0, 8.0)):
            values.copy_(torch.tensor([loss, penalty]))
            means.add(with_penalty)
        means.add({"loss_d": torch.tensor(5.0)})
        addresses |= {tensor.data_ptr() for tensor in means.tensors()}
        assert means.read(accelerator) == {"loss_d": 3.0, "penalty": 6.0}
    assert len(addresses) == 2
    means.add({"loss_d": torch.tensor(2.0)})
    assert means.read(accelerator) == {"loss_d": 2.0}


def test_the_guard_names_the_first_bad_gradient_and_remembers_when() -> None:
    guard = FiniteGuard(torch.device("cpu"))
    good, bad = torch.ones(3), torch.tensor([1.0, float("nan"), 1.0])
    norm = guard.watch("generator", {"a": good, "b": good}, torch.tensor(64))
    assert norm.item() == pytest.approx(6**0.5)
    guard.require_finite()
    guard.watch("discriminator", {"c": good}, torch.tensor(128))
    guard.watch("generator", {"a": good, "b": bad}, torch.tensor(128))
    assert guard.failed == 1
    guard.watch("discriminator", {"c": bad}, torch.tensor(192))  # what follows from it
    with pytest.raises(NotFiniteError, match=r"generator's gradient is not finite after 128 images, first in b \(1 tensors\)"):
        guard.require_finite()


def test_an_overflowing_norm_of_finite_gradients_is_reported_as_such() -> None:
    guard = FiniteGuard(torch.device("cpu"))
    guard.watch("classifier", {"a": torch.full((2,), 3e38)}, torch.tensor(0))
    with pytest.raises(NotFiniteError, match="first in a"):
        guard.require_finite()
    guard = FiniteGuard(torch.device("cpu"))
    guard.watch("classifier", {"a": torch.full((1,), 3e38), "b": torch.full((1,), 3e38)}, torch.tensor(0))
    with pytest.raises(NotFiniteError, match="only in its norm, which overflows"):
        guard.require_finite()
