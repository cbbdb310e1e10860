"""Cached constants are computed once, and are valid in every later pass and mode."""

import torch

from gconv_gan.layers import resample
from gconv_gan.layers.constants import constant


def test_each_is_made_once_for_its_arguments() -> None:
    made = []

    @constant
    def ones(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        made.append(size)
        return torch.ones(size, dtype=dtype, device=device)

    cpu = torch.device("cpu")
    assert ones(3, torch.float32, cpu) is ones(3, torch.float32, cpu)
    assert ones(3, torch.float64, cpu).dtype == torch.float64
    assert ones(2, torch.float32, cpu).shape == (2,)
    assert made == [3, 3, 2]


def test_one_made_in_inference_mode_serves_a_backward_pass() -> None:
    weight = torch.randn(2, 3, 7, 7, dtype=torch.float64, requires_grad=True)  # a side that no other test uses
    with torch.inference_mode():
        first = resample.fused_kernel(weight, "down")
    second = resample.fused_kernel(weight, "down")
    assert torch.equal(first, second)
    second.sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones_like(weight))
