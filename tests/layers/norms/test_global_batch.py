"""Batch normalisation with scale, shift and rectifier as one function: by formulas, and by Triton's kernels in its interpreter."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from gconv_gan.layers.conditioning import Condition, apply
from gconv_gan.layers.norms.batch_norm import BatchNorm2d, ConditionalBatchNorm2d, LatentBatchNorm2d
from gconv_gan.layers.norms.global_batch import batch_normalised, check_fused_kernels
from gconv_gan.layers.norms.joined_batches import joined_batches
from gconv_gan.layers.norms.rectified import activated
from gconv_gan.layers.norms.self_modulation import SelfModulatedBatchNorm2d

EPS = 1e-3
SCALES: dict[str, Callable[[int, int], tuple[int, ...] | None]] = {
    "none": lambda _b, _c: None,
    "per channel": lambda _b, c: (c,),
    "per sample": lambda b, c: (b, c),
}


def leaves(scales: str, shape: tuple[int, int, int, int] = (3, 4, 2, 3)) -> list[Tensor | None]:
    torch.manual_seed(0)
    x = 2 * torch.randn(shape, dtype=torch.float64) + torch.randn(shape[1], 1, 1, dtype=torch.float64)
    size = SCALES[scales](*shape[:2])
    return [x.requires_grad_(), *((None, None) if size is None else torch.randn(2, *size, dtype=torch.float64).requires_grad_().unbind(0))]


def plain(x: Tensor, scale: Tensor | None, shift: Tensor | None, slope: float) -> Tensor:
    y = F.batch_norm(x, None, None, None, None, training=True, eps=EPS)
    if scale is not None and shift is not None:
        y = scale[..., None, None] * y + shift[..., None, None]
    return F.leaky_relu(y, slope)


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("scales", SCALES)
def test_values_and_both_derivatives_are_those_of_separate_operations(scales: str, slope: float) -> None:
    x, scale, shift = leaves(scales)
    assert x is not None
    inputs = [one for one in (x, scale, shift) if one is not None]

    def one(*tensors: Tensor) -> Tensor:
        return batch_normalised(tensors[0], *(tensors[1:] or (None, None)), eps=EPS, slope=slope)[0]

    torch.testing.assert_close(one(*inputs), plain(x, scale, shift, slope), rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(one, inputs)
    assert torch.autograd.gradgradcheck(one, inputs)


CONDITIONED: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: BatchNorm2d(5),
    "conditional": lambda: ConditionalBatchNorm2d(5, 3),
    "latent": lambda: LatentBatchNorm2d(5, 4),
    "self-modulated": lambda: SelfModulatedBatchNorm2d(5, 4),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.ELU()], ids=["relu", "leaky_relu", "elu"])
@pytest.mark.parametrize("kind", CONDITIONED)
def test_a_norm_with_its_activation_is_one_after_the_other(kind: str, activation: nn.Module, training: bool) -> None:
    torch.manual_seed(0)
    x, condition = torch.randn(6, 5, 4, 3), Condition(torch.randn(6, 4), torch.arange(6) % 3)
    results = []
    for together in (True, False):
        torch.manual_seed(1)
        norm = CONDITIONED[kind]().train(training)
        for parameter in norm.parameters():
            nn.init.normal_(parameter)
        y = activated(norm, activation, x, condition) if together else activation(apply(norm, x, condition))
        gradients = torch.autograd.grad(y.square().sum(), list(norm.parameters()))
        results.append([y, *gradients, *norm.buffers()])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_hooks_of_norm_and_activation_are_called() -> None:
    norm, activation, seen = BatchNorm2d(5), nn.ReLU(), []
    activated(norm, activation, torch.randn(6, 5, 4, 3))
    for module in (norm, activation):
        module.register_forward_hook(lambda module, *_: seen.append(module))
    activated(norm, activation, torch.randn(6, 5, 4, 3))
    assert seen == [norm, activation]


def test_a_norm_of_the_user_keeps_its_signature() -> None:
    class Own(BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return x - 1

    assert activated(Own(5), nn.ReLU(), torch.ones(2, 5, 1, 1)).eq(0).all()


def test_a_modulated_norm_and_its_rectifier_store_two_maps() -> None:
    x, z = torch.randn(8, 5, 16, 16, requires_grad=True), torch.randn(8, 4)
    stored: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: stored.append(t) or t, lambda t: t):
        y = activated(LatentBatchNorm2d(5, 4), nn.ReLU(), x, Condition(z))
    assert {t.data_ptr() for t in stored if t.numel() >= x.numel()} == {x.data_ptr(), y.data_ptr()}


def interpreted(folder: str) -> None:
    """Compare every kernel with the formulas in float64; run in a process with TRITON_INTERPRET=1."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
    from gconv_gan.layers.norms import batch_kernels, batch_norm, global_batch

    batch_kernels.PARTS, batch_kernels.PROGRAMS = 3, 8  # so that a program has several tiles, also of different samples
    shapes = ((3, 5, 7, 3), (2, 40, 4, 4), (2, 3, 40, 40), (8, 2, 2, 1))
    layouts, dtypes = (torch.contiguous_format, torch.channels_last), (torch.float32, torch.bfloat16)
    cases = list(itertools.product(shapes, layouts, dtypes, SCALES, (0.0, 0.2, 1.0)))
    for index, (shape, layout, dtype, scales, slope) in enumerate(cases[::11]):  # 11 divides no number of choices
        exact = [None if one is None else one.detach() for one in leaves(scales, shape)]
        x, scale, shift = (None if one is None else one.float() for one in exact)
        assert x is not None
        x = (x + torch.tensor([10.0, *[0.0] * (shape[1] - 1)])[:, None, None]).to(dtype).contiguous(memory_format=layout)
        exact[0] = x.double()
        g = torch.randn(shape).to(dtype).contiguous(memory_format=layout)
        running = torch.zeros(shape[1]), torch.ones(shape[1]), 0.1
        tracked = [one.double() for one in running[:2]]
        found: list[list[Tensor]] = []
        for tensors, fused in (((x, scale, shift), True), (exact, False)):
            inputs = [one.requires_grad_() for one in tensors if one is not None]
            tensors = (*inputs, None, None)[:3]
            options: dict[str, Any] = {}
            if fused:
                options = {"fused": True, "shared": index % 2 == 1, "running": None if index % 2 else running}
            y, statistics = batch_normalised(*tensors, eps=EPS, slope=slope, **options)
            once, again = (torch.autograd.grad(y, inputs, g.to(y.dtype), retain_graph=True, create_graph=many) for many in (False, True))
            twice = torch.autograd.grad(again[0].double().square().sum(), inputs[:1]) if dtype is torch.float32 else []
            found.append([y, statistics.mean, statistics.variance, *once, *again, *twice])
        if index % 2 == 0:
            F.batch_norm(exact[0], *tracked, training=True)
        assert found[0][0].is_contiguous(memory_format=layout), (shape, layout)
        for number, (ours, reference) in enumerate(zip(found[0] + list(running[:2]), found[1] + tracked, strict=True)):
            narrow = dtype is torch.bfloat16 and reference.shape == x.shape  # which the interpreter truncates
            bound = (2**-7 if narrow else 2e-5) * (1 + reference.abs().max().item())
            error = (ours.double() - reference).abs().max().item()
            assert error < bound, (shape, layout, dtype, scales, slope, number, error, bound)
    joined(batch_norm)
    global_batch.CHECKED = ((3, 5, 7, 3), (2, 40, 8, 8))
    check_fused_kernels(torch.device("cpu"))
    right = batch_kernels.input_gradient
    batch_kernels.input_gradient = lambda *args, **options: tuple(one + 0.1 for one in right(*args, **options))
    with pytest.raises(RuntimeError, match="other values"):
        check_fused_kernels(torch.device("cpu"))
    print("cases:", len(cases[::11]))


def joined(batch_norm: Any) -> None:
    """Compare a pass over three batches with a pass for each, with the kernels and without; all three have other statistics."""
    batch_norm.has_fused_kernels = lambda _: True
    x, scale, shift = 3 * torch.randn(6, 5, 4, 4).cumsum(0), torch.randn(6, 5), torch.randn(6, 5)
    for layout, conditional in itertools.product((torch.contiguous_format, torch.channels_last), (False, True)):
        results = []
        for fused in (True, False):
            norm = BatchNorm2d(5, affine=not conditional)
            norm.fused = fused
            vectors = {"scale": scale, "shift": shift} if conditional else {}
            with torch.no_grad(), joined_batches(3):
                y = norm(x.contiguous(memory_format=layout), **vectors, slope=0.2)
            assert y.is_contiguous(memory_format=layout)
            results.append([y, *norm.buffers()])
        torch.testing.assert_close(*results)
        apart = F.batch_norm(x[2:4], None, None, training=True)
        assert conditional or torch.allclose(results[0][0][2:4], F.leaky_relu(apart, 0.2), atol=1e-4)


def test_the_kernels_compute_the_formulas(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)}
    code = "import sys; from tests.layers.norms import test_global_batch as t; t.interpreted(sys.argv[1])"
    # a process of its own: Triton decides at its import whether it interprets
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "cases: 14" in done.stdout


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_kernels_compile_for_a_gpu(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from gconv_gan.layers.norms import batch_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {"stride_c": 1, "BLOCK_P": 128, "BLOCK_C": 32, "ALL": 64, "SCALED": True, "PER_SAMPLE": False, "TRACKED": True}
    for kernel in ("_partial_statistics", "_normalise", "_partial_sums", "_input_gradient"):
        function = getattr(batch_kernels, kernel)
        kinds = dict.fromkeys(function.arg_names, "*fp32") | dict.fromkeys(("x", "y", "g", "result"), f"*{dtype}")
        kinds |= dict.fromkeys(("eps", "slope", "momentum"), "fp32") | dict.fromkeys(constants, "constexpr")
        kinds |= dict.fromkeys(("parts", "pixels", "channels", "stride_b", "stride_p", "of_sample", "of_group", "splits", "each"), "i32")
        source = ASTSource(
            function,
            {name: kinds[name] for name in function.arg_names},
            {(place,): constants[name] for place, name in enumerate(function.arg_names) if name in constants},
        )
        made = compiled(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
        assert made.asm["cubin"]
        assert ".local" not in made.asm["ptx"]  # registers suffice
