"""Float32 arithmetic: no autocast, no TF32 on a GPU; both are restored afterwards."""

from collections.abc import Iterator

import pytest
import torch

from gconv_gan.runtime.precision import float32_arithmetic, set_tf32


def test_autocast_is_off_inside_and_on_again_after() -> None:
    a = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with float32_arithmetic(torch.device("cpu")):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16


def switches() -> list[str]:
    return [switch.fp32_precision for switch in (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)]


@pytest.fixture
def kept() -> Iterator[None]:
    before = switches()
    yield
    for switch, value in zip((torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul), before, strict=True):
        switch.fp32_precision = value


@pytest.mark.parametrize("enabled", [None, True, False])
def test_tf32_is_off_inside_and_as_before_after(enabled: bool | None, kept: None) -> None:
    if enabled is not None:
        set_tf32(enabled)
    before = switches()
    assert before == {None: ["tf32", "tf32", "none"], True: ["tf32"] * 3, False: ["ieee"] * 3}[enabled]  # None: torch's own choice
    with float32_arithmetic(torch.device("cuda")):
        assert switches() == ["ieee"] * 3
    assert switches() == before
