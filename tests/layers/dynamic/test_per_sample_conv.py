"""Every strategy equals a loop over samples, in value and gradients; the dispatcher follows its table."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from gconv_gan.layers.dynamic.dictionary_conv import dictionary_conv2d, folding_pays
from gconv_gan.layers.dynamic.per_sample_conv import (
    ADMISSIBLE,
    Geometry,
    Granularity,
    Strategy,
    choose_strategy,
    per_sample_conv2d,
)
from tests.reference.per_sample_conv import bank_conv, dictionary_conv

GEOMETRIES: dict[str, tuple[tuple[int, int], Geometry]] = {
    "same": ((3, 3), Geometry(padding=(1, 1))),
    "1x1": ((1, 1), Geometry()),
    "1x1 strided, padded": ((1, 1), Geometry(padding=(1, 0), stride=(2, 1))),
    "strided, dilated": ((3, 2), Geometry(padding=(2, 1), stride=(2, 1), dilation=(2, 1))),
    "dilated": ((3, 2), Geometry(padding=(1, 2), dilation=(1, 3))),
    "groups": ((3, 3), Geometry(padding=(1, 1), groups=2)),
    "groups, replicate": ((3, 3), Geometry(padding=(1, 1), groups=2, padding_mode="replicate")),
    "reflect": ((3, 3), Geometry(padding=(1, 1), padding_mode="reflect")),
    "circular, 5x5": ((5, 5), Geometry(padding=(2, 2), padding_mode="circular")),
    "up": ((3, 3), Geometry(padding=(1, 1), resample="up")),
    "up, groups, reflect": ((3, 3), Geometry(padding=(1, 1), groups=2, padding_mode="reflect", resample="up")),
    "up, 5x5, circular": ((5, 5), Geometry(padding=(2, 2), padding_mode="circular", resample="up")),
    "up, 1x1": ((1, 1), Geometry(resample="up")),
    "transposed": ((4, 4), Geometry(padding=(1, 1), resample="transposed")),
    "transposed, groups": ((2, 2), Geometry(groups=2, resample="transposed")),
    "down": ((3, 3), Geometry(padding=(1, 1), resample="down")),
    "down, groups, replicate": ((3, 3), Geometry(padding=(1, 1), groups=2, padding_mode="replicate", resample="down")),
    "down, 1x1, groups": ((1, 1), Geometry(groups=2, resample="down")),
}


CASES = [(g, s, name) for g, strategies in ADMISSIBLE.items() for s in strategies if s != "bucketed" for name in GEOMETRIES]


def problem(kernel_size: tuple[int, int], groups: int, granularity: Granularity = "kernel", batch: int = 3) -> list[Tensor]:
    torch.manual_seed(0)
    extra = {"kernel": (), "filter": (6,), "channel": (4,), "tap": (kernel_size[0] * kernel_size[1],)}[granularity]
    shapes = [(batch, 4, 5, 7), (3, 6, 4 // groups, *kernel_size), (batch, 3, *extra), (batch, 6)]
    return [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def assert_equal_with_gradients(ours: Tensor, reference: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(ours, reference, rtol=0, atol=1e-10)
    direction = torch.randn_like(reference)
    for a, b in zip(torch.autograd.grad(ours, leaves, direction), torch.autograd.grad(reference, leaves, direction), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("granularity", "strategy", "name"), CASES)
def test_every_strategy_equals_the_loop_over_samples(granularity: Granularity, strategy: Strategy, name: str) -> None:
    kernel_size, geometry = GEOMETRIES[name]
    x, bank, gates, bias = problem(kernel_size, geometry.groups, granularity)
    ours = per_sample_conv2d(x, bank, gates, bias, geometry=geometry, granularity=granularity, strategy=strategy)
    reference = bank_conv(x, bank, gates, bias, granularity=granularity, **asdict(geometry))
    assert_equal_with_gradients(ours, reference, [x, bank, gates, bias])


@pytest.mark.parametrize("name", GEOMETRIES)
def test_dictionary_equals_the_loop_over_samples(name: str) -> None:
    kernel_size, geometry = GEOMETRIES[name]
    x, bank, _, _ = problem(kernel_size, geometry.groups)
    dictionary = bank[0].detach().requires_grad_()
    mix, gates, bias, filter_bias = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in [(5, 6), (3, 6), (5,), (6,)])
    ours = dictionary_conv2d(x, dictionary, mix, gates, bias, filter_bias=filter_bias, geometry=geometry)
    reference = dictionary_conv(x, dictionary, mix, gates, bias, filter_bias, **asdict(geometry))
    assert_equal_with_gradients(ours, reference, [x, dictionary, mix, gates, bias, filter_bias])
    torch.testing.assert_close(
        dictionary_conv2d(x, dictionary, mix, gates, geometry=geometry),
        reference - bias[:, None, None] - _gated_bias(mix, gates, filter_bias),
    )


def _gated_bias(mix: Tensor, gates: Tensor, filter_bias: Tensor) -> Tensor:
    return ((gates * filter_bias) @ mix.T)[:, :, None, None]


@pytest.mark.parametrize("name", ["same", "up", "1x1", "groups"])
@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_gate_for_the_batch_equals_the_same_gate_for_each(name: str, gradient: bool, batch: int) -> None:
    kernel_size, geometry = GEOMETRIES[name]
    x, bank, gates, bias = problem(kernel_size, geometry.groups, batch=batch)
    mix, filter_bias = torch.randn(5, 6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    with torch.set_grad_enabled(gradient):
        ours = per_sample_conv2d(x, bank, gates[:1], bias, geometry=geometry)
        reference = per_sample_conv2d(x, bank, gates[:1].expand(batch, -1), bias, geometry=geometry, strategy="grouped")
        torch.testing.assert_close(ours, reference, rtol=0, atol=1e-10)
        filters = bank[0]
        ours = dictionary_conv2d(x, filters, mix, bias[:1], mix[:, 0], filter_bias=filter_bias, geometry=geometry)
        reference = dictionary_conv(x, filters, mix, bias[:1].expand(batch, -1), mix[:, 0], filter_bias, **asdict(geometry))
        torch.testing.assert_close(ours, reference, rtol=0, atol=1e-10)


RESAMPLINGS = {
    "nearest": partial(F.interpolate, scale_factor=2, mode="nearest"),
    "bilinear": partial(F.interpolate, scale_factor=2, mode="bilinear", align_corners=False),
    "bilinear, corners aligned": partial(F.interpolate, scale_factor=2, mode="bilinear", align_corners=True),
    "average pooling": partial(F.avg_pool2d, kernel_size=2),
}


@pytest.mark.parametrize("name", RESAMPLINGS)
def test_a_1x1_convolution_commutes_with_resampling_whose_weights_sum_to_one(name: str) -> None:
    x, bank, gates, bias = problem((1, 1), 1)
    mix, filter_bias = torch.randn(5, 6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    resampling = RESAMPLINGS[name]
    for conv in (
        lambda x: per_sample_conv2d(x, bank, gates, bias),
        lambda x: dictionary_conv2d(x, bank[0], mix, gates[:, :1].expand(-1, 6), bias[0, :5], filter_bias=filter_bias),
    ):
        assert_equal_with_gradients(resampling(conv(x)), conv(resampling(x)), [x, bank, gates, bias])


@pytest.mark.parametrize(("resample", "side"), [("up", 8), ("down", 16)])
def test_a_1x1_convolution_runs_at_the_low_resolution(resample: str, side: int) -> None:
    x, low = torch.randn(2, 4, side, side), 8 * 8
    geometry = Geometry(resample=resample)  # type: ignore[arg-type]

    def flops(run: Callable[[], Tensor]) -> int:
        with FlopCounterMode(display=False) as counter:
            run()
        total: int = counter.get_total_flops()
        return total // 2

    bank, gates, mix = torch.randn(3, 6, 4, 1, 1), torch.rand(2, 3), torch.randn(5, 6)
    mixing = 2 * 3 * 6 * 4
    assert flops(lambda: per_sample_conv2d(x, bank, gates, geometry=geometry, strategy="bmm")) == mixing + 2 * 6 * 4 * low
    assert flops(lambda: dictionary_conv2d(x, bank[0], mix, torch.rand(2, 6), geometry=geometry)) == 2 * (6 * 4 + 5 * 6) * low


def test_folding_the_dictionary_saves_operations_for_a_single_image_larger_than_a_kernel() -> None:
    def pays(side: int, batch: int = 1, resample: str = "none", groups: int = 1) -> bool:
        geometry = Geometry(padding=(1, 1), groups=groups, resample=resample)  # type: ignore[arg-type]
        return folding_pays(torch.Size([batch, 32, side, side]), torch.Size([32, 32 // groups, 3, 3]), 32, geometry)

    assert 16 * 16 < 32 * 9 < 18 * 18  # positions against inputs times taps
    assert not pays(16)
    assert pays(18)
    assert pays(16, batch=2)
    assert pays(9, resample="up")
    assert not pays(18, groups=2)


@pytest.mark.parametrize(("granularity", "strategy"), [(g, s) for g, all_ in ADMISSIBLE.items() for s in all_ if s != "bucketed"])
def test_gradcheck(granularity: Granularity, strategy: Strategy) -> None:
    x, bank, gates, bias = problem((3, 3), 2, granularity, batch=2)
    x = x[:, :, :3, :3].detach().requires_grad_()
    geometry = Geometry(padding=(1, 1), groups=2, resample="up")

    def conv(*leaves: Tensor) -> Tensor:
        return per_sample_conv2d(*leaves, geometry=geometry, granularity=granularity, strategy=strategy)

    assert torch.autograd.gradcheck(conv, (x, bank, gates, bias), fast_mode=True)


@pytest.mark.parametrize("strategy", [s for s in ADMISSIBLE["kernel"] if s != "bucketed"])
@pytest.mark.parametrize("layout", ["channels_last", "strided"])
def test_any_memory_layout(strategy: Strategy, layout: str) -> None:
    x, bank, gates, bias = problem((3, 3), 1)
    other = x.to(memory_format=torch.channels_last) if layout == "channels_last" else torch.stack([x, x], -1)[..., 0]
    assert not other.is_contiguous()
    geometry = Geometry(padding=(1, 1))
    ours = per_sample_conv2d(other, bank, gates, bias, geometry=geometry, strategy=strategy)
    torch.testing.assert_close(ours, bank_conv(x, bank, gates, bias, padding=(1, 1)), rtol=0, atol=1e-10)
    if strategy == "grouped" and layout == "channels_last":
        assert ours.is_contiguous(memory_format=torch.channels_last)


def test_the_dictionary_keeps_channels_last() -> None:
    x, bank, _, bias = problem((3, 3), 1)
    mix, gates = torch.randn(5, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    geometry = Geometry(padding=(1, 1))
    y = dictionary_conv2d(x.to(memory_format=torch.channels_last), bank[0], mix, gates, bias[0, :5], geometry=geometry)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, dictionary_conv(x, bank[0], mix, gates, bias[0, :5], None, padding=(1, 1)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("strategy", [s for s in ADMISSIBLE["kernel"] if s != "bucketed"])
@pytest.mark.parametrize("name", ["up, groups, reflect", "strided, dilated"])
def test_a_single_sample(strategy: Strategy, name: str) -> None:
    kernel_size, geometry = GEOMETRIES[name]
    x, bank, gates, bias = problem(kernel_size, geometry.groups, batch=1)
    ours = per_sample_conv2d(x, bank, gates, bias, geometry=geometry, strategy=strategy)
    assert_equal_with_gradients(ours, bank_conv(x, bank, gates, bias, **asdict(geometry)), [x, bank, gates, bias])


def test_bucketed_equals_the_loop_and_keeps_to_its_conditions() -> None:
    x, bank, gates, bias = problem((3, 3), 2, batch=5)
    chosen = torch.tensor([2, 0, 2, 0, 0])  # kernel 1 has no samples
    hard = torch.zeros_like(gates).scatter(1, chosen[:, None], gates.detach()[:, :1])
    hard[4] = 0
    geometry = Geometry(padding=(1, 1), groups=2)
    with torch.no_grad():
        ours = per_sample_conv2d(x, bank, hard, bias, geometry=geometry, strategy="bucketed")
        torch.testing.assert_close(ours, bank_conv(x, bank, hard, bias, padding=(1, 1), groups=2), rtol=0, atol=1e-10)
        with pytest.raises(ValueError, match="at most one gate"):
            per_sample_conv2d(x, bank, gates, bias, geometry=geometry, strategy="bucketed")
    with pytest.raises(ValueError, match="no gradient"):
        per_sample_conv2d(x, bank, gates, bias, geometry=geometry, strategy="bucketed")


# ---- precision -------------------------------------------------------------------------------------------------------


class CastsToHalf(TorchDispatchMode):
    """Collects the sizes of tensors that are rounded to bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(
        self, func: Callable[..., Tensor], types: object, args: tuple[Tensor, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and result.dtype == torch.bfloat16:
            self.sizes.append(result.numel())
        return result


@pytest.mark.parametrize("resample", ["none", "up", "down"])
@pytest.mark.parametrize("strategy", ["grouped", "unfused", "bmm", "wide", "concat"])
def test_autocast_stays_close_to_float32_and_rounds_kernels_once(strategy: Strategy, resample: str) -> None:
    torch.manual_seed(0)
    x, bank, gates, bias = torch.randn(3, 16, 5, 7), torch.randn(4, 16, 16, 3, 3), torch.rand(3, 4), torch.randn(3, 16)
    geometry = Geometry(padding=(1, 1), resample=resample)  # type: ignore[arg-type]
    exact = per_sample_conv2d(x, bank, gates, bias, geometry=geometry, strategy=strategy)
    with torch.autocast("cpu", torch.bfloat16), CastsToHalf() as casts:
        rounded = per_sample_conv2d(x, bank, gates, bias, geometry=geometry, strategy=strategy)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).square().mean().sqrt() / exact.square().mean().sqrt() < 1e-2
    kernels = {(count, taps): count * 16 * 16 * taps for count in (3, 4) for taps in (9, 16)}  # mixed or candidates, narrow or wide
    applied = kernels.pop((4 if strategy in ("wide", "concat") else 3, 9 if resample == "none" or strategy == "unfused" else 16))
    assert casts.sizes.count(applied) == 1
    assert not set(casts.sizes) & set(kernels.values())


def test_a_bfloat16_layer_mixes_in_float32() -> None:
    torch.manual_seed(0)
    x, bank, gates = torch.randn(4, 16, 8, 8).bfloat16(), torch.randn(4, 16, 16, 3, 3).bfloat16(), torch.rand(4, 4)
    y = per_sample_conv2d(x, bank, gates, geometry=Geometry(padding=(1, 1), resample="down"), strategy="grouped")
    exact = per_sample_conv2d(x.float(), bank.float(), gates, geometry=Geometry(padding=(1, 1), resample="down"), strategy="grouped")
    assert y.dtype == torch.bfloat16
    assert (y - exact).square().mean().sqrt() / exact.square().mean().sqrt() < 5e-3


# ---- dispatch --------------------------------------------------------------------------------------------------------


def choose(side: int, bank: tuple[int, int, int, int, int] = (4, 256, 256, 3, 3), threshold: float = 600.0, **more: object) -> Strategy:
    padding = (bank[3] // 2, bank[4] // 2)
    geometry = Geometry(padding=padding, resample=more.pop("resample", "none"))  # type: ignore[arg-type]
    return choose_strategy(height=side, width=side, bank_shape=bank, geometry=geometry, threshold=threshold, **({"batch": 64} | more))  # type: ignore[arg-type]


def test_dispatch_by_positions_times_kernels() -> None:
    assert [choose(side) for side in (4, 8, 16)] == ["concat", "concat", "grouped"]
    assert choose(16, resample="down") == "wide"  # 64 low-resolution positions, and outputs are the fewer maps
    assert choose(8, resample="up") == "concat"
    assert choose(16, resample="up") == "unfused"
    assert choose(32, resample="up") == "grouped"
    assert choose(32, resample="down") == "unfused"
    assert choose(64, resample="down") == "grouped"


def test_dispatch_widens_kernels_only_where_pixels_are_many() -> None:
    fp32 = {"threshold": 100.0, "resample": "up"}
    assert [choose(side, **fp32) for side in (4, 8, 16)] == ["concat", "unfused", "grouped"]  # type: ignore[arg-type]
    assert [choose(side, granularity="tap", **fp32) for side in (4, 16)] == ["unfused", "grouped"]  # type: ignore[arg-type]
    assert choose(8, (4, 256, 256, 4, 4), threshold=100.0, resample="transposed") == "grouped"


def test_dispatch_by_channels_and_granularity() -> None:
    assert choose(32, (4, 3, 256, 3, 3)) == "wide"  # to RGB
    assert choose(4, (4, 128, 256, 3, 3)) == "wide"  # fewer output than input maps
    assert choose(4, (4, 128, 256, 3, 3), granularity="channel") == "concat"
    assert choose(4, granularity="filter") == "wide"
    assert choose(32, (4, 3, 256, 3, 3), granularity="channel") == "grouped"
    assert choose(4, (4, 3, 256, 3, 3), granularity="tap") == "grouped"
    assert choose(4, (4, 256, 256, 1, 1), granularity="tap") == "bmm"
    assert choose(16, (4, 256, 256, 1, 1)) == "bmm"
    assert choose(4, (4, 256, 256, 1, 1)) == "concat"
    assert choose(16, one_hot=True) == "bucketed"
    for side, outputs, kernel in product((2, 8, 32), (3, 64, 512), (1, 3)):
        bank = (4, outputs, 128, kernel, kernel)
        for granularity, strategies in ADMISSIBLE.items():
            assert choose(side, bank, granularity=granularity) in strategies


def test_the_chosen_strategy_is_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from gconv_gan.layers.dynamic import per_sample_conv

    ran: list[str] = []
    for name, run in per_sample_conv._RUN.items():
        monkeypatch.setitem(per_sample_conv._RUN, name, lambda *a, name=name, run=run: (ran.append(name), run(*a))[1])
    x, bank, gates, bias = problem((3, 3), 1)
    hard = torch.zeros(3, 3, dtype=torch.float64)
    hard[:, 1] = 1
    per_sample_conv2d(x, bank, gates, bias, geometry=Geometry(padding=(1, 1)))
    per_sample_conv2d(x, bank, hard, bias, geometry=Geometry(padding=(1, 1)), one_hot=True)
    with torch.no_grad():
        per_sample_conv2d(x, bank, hard, bias, geometry=Geometry(padding=(1, 1)), one_hot=True)
    assert ran == ["wide", "wide", "bucketed"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"granularity": "filter"}, r"gates per filter must have shape \[3, 3, 6\]"),
        ({"geometry": Geometry(groups=2)}, "8 input channels"),
        ({"geometry": Geometry(resample="up")}, "needs padding 1"),
        ({"gates": torch.ones(2, 3, dtype=torch.float64)}, "or 1 instead of 3"),
        ({"gates": torch.ones(3, 3, 6, dtype=torch.float64), "granularity": "filter", "strategy": "concat"}, "does not support"),
        ({"gates": torch.ones(3, 3, 4, dtype=torch.float64), "granularity": "channel", "strategy": "wide"}, "does not support"),
        ({"gates": torch.ones(3, 3, 9, dtype=torch.float64), "granularity": "tap", "strategy": "concat"}, "does not support"),
    ],
)
def test_gates_and_strategies_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    x, bank, gates, _ = problem((3, 3), 1)
    with pytest.raises(ValueError, match=message):
        per_sample_conv2d(**({"x": x, "bank": bank, "gates": gates} | change))  # type: ignore[arg-type]


def test_a_dictionary_refuses_gates_of_another_batch() -> None:
    x, bank, _, _ = problem((3, 3), 1)
    with pytest.raises(ValueError, match="2 samples do not fit 3 images"):
        dictionary_conv2d(x, bank[0], torch.eye(6).double(), torch.ones(2, 6).double())


LARGE = [(g, name) for g in ADMISSIBLE for name in GEOMETRIES]


FEW = "mixed_kernels.CPU_BYTES"


@pytest.mark.parametrize("form", [[FEW], ["per_sample_conv.SEPARATE_WORK", "per_sample_conv.ONEDNN_ELEMENTS", FEW]])
@pytest.mark.parametrize(("granularity", "name"), LARGE)
def test_forms_of_large_layers_equal_the_loop_over_samples(
    form: list[str], granularity: Granularity, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for constant in form:
        monkeypatch.setattr(f"gconv_gan.layers.dynamic.{constant}", 1)
    kernel_size, geometry = GEOMETRIES[name]
    leaves = problem(kernel_size, geometry.groups, granularity)
    x, bank, gates, bias = leaves

    def both() -> tuple[Tensor, Tensor]:
        ours = per_sample_conv2d(x, bank, gates, bias, geometry=geometry, granularity=granularity, strategy="grouped")
        return ours, bank_conv(x, bank, gates, bias, granularity=granularity, **asdict(geometry))

    assert_equal_with_gradients(*both(), leaves)
    # the norm of a gradient, differentiated, as a penalty does
    gradients = [torch.autograd.grad(y.square().sum(), leaves, create_graph=True) for y in both()]
    norms = [torch.stack([gradient.square().sum() for gradient in found]).sum() for found in gradients]
    for a, b in zip(*(torch.autograd.grad(norm, leaves) for norm in norms), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("resample", ["none", "up", "down"])
def test_neither_mixed_kernels_nor_copies_of_the_images_are_stored_for_the_backward_pass(resample: str) -> None:
    bank, gates = torch.randn(2, 8, 8, 3, 3, requires_grad=True), torch.randn(9, 2)
    x = torch.randn(9, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    stored: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        stored[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        per_sample_conv2d(x, bank, gates, geometry=Geometry(padding=(1, 1), resample=resample), strategy="grouped")  # type: ignore[arg-type]
    widened = bank.nbytes * 16 // 9 if resample != "none" else bank.nbytes
    assert max(bytes_ for place, bytes_ in stored.items() if place != x.data_ptr()) <= widened


def test_few_kernels_exist_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, gates, x = torch.randn(2, 8, 8, 3, 3, requires_grad=True), torch.randn(9, 2), torch.randn(9, 8, 4, 4)
    monkeypatch.setattr("gconv_gan.layers.dynamic.mixed_kernels.CPU_BYTES", 3 * bank[0].nbytes)
    made: list[int] = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
            result = func(*args, **(kwargs or {}))
            made.extend(tensor.nbytes for tensor in (result,) if isinstance(tensor, Tensor))
            return result

    with Sizes():
        per_sample_conv2d(x, bank, gates, geometry=Geometry(padding=(1, 1)), strategy="grouped").sum().backward()
    assert max(made) == max(3 * bank[0].nbytes, x.nbytes)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("form", ["gated maps", "gated matrices"])
def test_both_forms_of_a_dictionary_have_the_derivatives_of_the_loop(
    form: str, memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gconv_gan.layers.dynamic.dictionary_conv._dense", lambda *_: form == "gated maps")
    torch.manual_seed(0)
    geometry = Geometry(padding=(1, 1))
    shapes = [(3, 4, 5, 7), (6, 4, 3, 3), (5, 6), (3, 6), (5,)]
    x, *others = [torch.randn(*shape, dtype=torch.float64) for shape in shapes]
    leaves = [x.contiguous(memory_format=memory_format).requires_grad_(), *(tensor.requires_grad_() for tensor in others)]

    def both() -> tuple[Tensor, Tensor]:
        return dictionary_conv2d(*leaves, geometry=geometry), dictionary_conv(*leaves, leaves[1].new_zeros(6), **asdict(geometry))

    assert_equal_with_gradients(*both(), leaves)
    gradients = [torch.autograd.grad(y.square().sum(), leaves, create_graph=True) for y in both()]
    norms = [torch.stack([gradient.square().sum() for gradient in found]).sum() for found in gradients]
    for a, b in zip(*(torch.autograd.grad(norm, leaves) for norm in norms), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-8)
