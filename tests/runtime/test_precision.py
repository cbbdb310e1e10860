"""Float32 arithmetic: no autocast, and no TF32 on a GPU, and both as before afterwards."""

import torch

from gconv_gan.runtime.precision import float32_arithmetic


def test_autocast_is_off_inside_and_on_again_after() -> None:
    a = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with float32_arithmetic(torch.device("cpu")):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16


def test_tf32_is_off_inside_and_as_before_after() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    assert before[0]  # torch's own choice for convolutions
    with float32_arithmetic(torch.device("cuda")):
        assert (cudnn.allow_tf32, matmul.allow_tf32) == (False, False)
    assert (cudnn.allow_tf32, matmul.allow_tf32) == before
