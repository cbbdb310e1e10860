"""Every dynamic convolution: its kernel, independence of samples, initial state, state dict, precision, memory layouts."""

import copy

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.layers import AdaptiveConv2d, CondConv2d, Condition, Conditioned, DyConv2d, GConv2d, KernelBank2d, ODConv2d, ResampledConv2d
from gconv_gan.layers.dynamic.per_sample_conv import ADMISSIBLE
from gconv_gan.layers.initialisers import glorot_
from tests.reference.dynamic_convs import INPUTS, LATENT_DIM, OUTPUTS, PRESETS, build, inputs, reference, run

ALL = list(PRESETS)
GEOMETRIES: dict[str, dict[str, object]] = {
    "same": {},
    "up": {"resample": "up"},
    "down": {"resample": "down"},
    "groups, strided, replicate": {"groups": 2, "stride": (2, 1), "padding_mode": "replicate"},
    "groups, up, circular": {"groups": 2, "resample": "up", "padding_mode": "circular"},
    "dilated, no bias": {"dilation": 2, "padding": 2, "bias": "none"},
    "1x1": {"kernel": 1},
    "1x1, up": {"kernel": 1, "resample": "up"},
    "5x5, down, groups": {"kernel": 5, "groups": 2, "resample": "down"},
    "transposed, groups": {"kernel": 4, "padding": 1, "groups": 2, "resample": "transposed"},
}


# ---- what it computes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("preset", ALL)
def test_equals_the_explicit_kernel_in_value_and_every_gradient(preset: str, geometry: str) -> None:
    layer = build(preset, **GEOMETRIES[geometry]).eval()
    x, condition = inputs()
    assert condition.z is not None
    x.requires_grad_()
    condition.z.requires_grad_()
    ours, plain = run(layer, x, condition), reference(layer, x, condition)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-10)
    direction = torch.randn_like(plain)
    leaves = [x, condition.z, *layer.parameters()]
    a, b = (torch.autograd.grad(y, leaves, direction, allow_unused=True) for y in (ours, plain))
    for one, other in zip(a, b, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert all(gradient is not None for gradient in a[2:])


def test_a_depthwise_odconv_has_no_attention_over_filters() -> None:
    layer = build("odconv", groups=INPUTS, outputs=INPUTS).eval()
    x, condition = inputs()
    assert layer.filter is None
    assert "filter.weight" not in layer.state_dict()
    torch.testing.assert_close(run(layer, x, condition), reference(layer, x, condition), rtol=0, atol=1e-10)


def test_ranges_of_the_gates() -> None:
    x = 3 * torch.randn(20, INPUTS, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 1
    mean = x.mean((2, 3))
    sigmoid = build("condconv").gate(mean)
    assert (sigmoid > 0).all()
    assert (sigmoid < 1).all()
    assert sigmoid.std(0).max() > 0.05
    for softmax in (build("dyconv").gate(mean), build("odconv").gate(torch.randn(20, 16).double())):
        torch.testing.assert_close(softmax.sum(1), torch.ones(20).double())
        assert (softmax >= 0).all()
    assert DyConv2d(4, 6, 3).gate.temperature == ODConv2d(4, 6, 3).gate.temperature == 30
    hot, cold = build("dyconv", temperature=30.0), build("dyconv", temperature=0.1)
    assert (hot.gate(mean) - 0.25).abs().max() < 0.1 < cold.gate(mean).max() - 0.5


class Exportable(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, z: Tensor, y: Tensor) -> Tensor:
        return run(self.layer, x, Condition(z, y))


@pytest.mark.parametrize(
    ("preset", "strategy"),
    [("condconv", "wide"), ("dyconv", "concat"), ("gigagan", "wide"), ("gigagan", "concat"), ("stylegan2", None), ("cconv", None)],
)
def test_an_exported_layer_takes_any_batch(preset: str, strategy: str | None) -> None:
    module = Exportable(build(preset, strategy=strategy, resample="up")).eval()
    x, condition = inputs()
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(module, (x, condition.z, condition.y), dynamic_shapes=({0: batch}, {0: batch}, {0: batch})).module()
    x, condition = inputs(batch=5)
    torch.testing.assert_close(exported(x, condition.z, condition.y), module(x, condition.z, condition.y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("preset", ALL)
def test_every_strategy_gives_the_same(preset: str) -> None:
    x, condition = inputs()
    expected = run(build(preset).eval(), x, condition)
    taps = preset == "odconv"
    for strategy in ADMISSIBLE["tap" if taps else "kernel"]:
        if strategy != "bucketed":
            torch.testing.assert_close(run(build(preset, strategy=strategy).eval(), x, condition), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("preset", ALL)
def test_second_derivatives_as_gradient_penalties_need_them(preset: str) -> None:
    layer = build(preset, resample="up").eval()
    x, condition = inputs(batch=2, height=3, width=3)
    parameters = [x.requires_grad_(), *layer.parameters()]

    def penalty(*_: Tensor) -> Tensor:
        y = run(layer, x, condition).tanh().sum()
        return torch.autograd.grad(y, x, create_graph=True)[0].square().sum()

    assert torch.autograd.gradcheck(penalty, parameters, fast_mode=True)


def test_the_attention_of_odconv_uses_the_statistics_of_the_batch_in_training() -> None:
    layer = build("odconv").train()
    x, condition = inputs()
    hidden = layer.squeeze(x.mean((2, 3)))
    expected = copy.deepcopy(layer).eval()
    expected.norm.running_mean, expected.norm.running_var = hidden.mean(0).detach(), hidden.var(0, correction=0).detach()
    torch.testing.assert_close(run(layer, x, condition), reference(expected, x, condition), rtol=0, atol=1e-10)
    assert layer.norm.num_batches_tracked == 1
    with pytest.raises(ValueError, match="two images or more"):
        layer(x[:1])
    layer.eval()(x[:1])


@pytest.mark.parametrize("preset", ["stylegan2", "gigagan", "modulated, no demodulation"])
def test_one_latent_vector_may_serve_the_batch(preset: str) -> None:
    layer = build(preset)
    x, condition = inputs()
    assert condition.z is not None
    one = run(layer, x, Condition(z=condition.z[:1]))
    torch.testing.assert_close(one, run(layer, x, Condition(z=condition.z[:1].expand(3, -1))), rtol=0, atol=1e-10)


# ---- where it starts ---------------------------------------------------------------------------------------------------


def glorot(weight: Tensor) -> None:
    assert weight.ndim == 4, "an initialiser must never see a bank"
    nn.init.xavier_uniform_(weight, gain=2**0.5)


VARIANCE = [("condconv", {"num_kernels": k}) for k in (1, 2, 4, 8)] + [
    ("dyconv", {"num_kernels": k, "temperature": 30.0}) for k in (1, 2, 4, 8)
]
VARIANCE += [("odconv", {"num_kernels": k, "temperature": 30.0}) for k in (1, 4)] + [
    ("odconv", {"temperature": 30.0, "kernel": 1}),
    ("cconv", {}),
]


@pytest.mark.parametrize(("preset", "keywords"), VARIANCE, ids=str)
def test_variance_at_the_start_is_that_of_the_convolution(preset: str, keywords: dict[str, object]) -> None:
    torch.manual_seed(0)
    kind, options = PRESETS[preset]
    options = options | keywords
    kernel = options.pop("kernel", 3)
    layer = kind(48, 32, kernel, padding=kernel // 2, bias="none", **options)  # type: ignore[arg-type]
    plain = nn.Conv2d(48, 32, kernel, padding=kernel // 2, bias=False)
    glorot_(layer, gain=2**0.5)
    glorot(plain.weight)
    x = torch.randn(16, 48, 15, 15)
    ours, theirs = run(layer, x, Condition(y=torch.zeros(16, dtype=torch.long))), plain(x)
    assert ours.numel() > 1e5
    assert 0.9 < ours.var() / theirs.var() < 1.1


@pytest.mark.parametrize("preset", ALL)
def test_each_kernel_is_initialised_for_its_own_fan(preset: str) -> None:
    layer = build(preset, num_kernels=3) if preset in ("condconv", "dyconv", "odconv", "gigagan") else build(preset)
    layer.reset_kernels(glorot)
    applied = layer.bank * layer.initial_gain
    bound = (2**0.5) * (6 / (9 * (INPUTS + OUTPUTS))) ** 0.5
    assert 0.9 * bound < applied.abs().amax((1, 2, 3, 4)).min() <= applied.abs().max() <= bound * (1 + 1e-6)


# ---- state -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ALL)
def test_state_does_not_depend_on_strategy_or_resampling(preset: str) -> None:
    x, condition = inputs()
    layer = build(preset).eval()
    state = copy.deepcopy(layer.state_dict())
    for conv in ({"strategy": "grouped"}, {"strategy": "bmm"}, {"resample": "up"}, {"resample": "down"}):
        other = build(preset, seed=1, **conv).eval()
        other.load_state_dict(state)
        run(other, x, condition)
        assert all(torch.equal(state[name], value) for name, value in other.state_dict().items())


def test_the_state_dict_has_the_documented_names_and_shapes() -> None:
    assert list(build("condconv").state_dict()) == ["bank", "bias", "gate.temperature", "gate.logits.weight", "gate.logits.bias"]
    assert list(build("cconv").state_dict()) == ["bank", "bias", "scale.weight", "shift.weight"]
    assert list(build("stylegan2").state_dict()) == ["bank", "bias", "style.weight", "style.bias"]
    assert [n for n in build("gigagan").state_dict() if n.startswith("gate")] == [
        "gate.temperature",
        "gate.logits.weight",
        "gate.logits.bias",
    ]


@pytest.mark.parametrize("preset", ["cconv", "modulated, no demodulation"])
def test_with_constant_gates_it_equals_the_plain_layer(preset: str) -> None:
    torch.manual_seed(0)
    kind, options = PRESETS[preset]
    for resample in ("none", "up", "down"):
        plain = ResampledConv2d(4, 6, 3, padding=1, resample=resample)  # type: ignore[arg-type]
        layer = kind(4, 6, 3, padding=1, resample=resample, **options)  # type: ignore[arg-type]
        layer.load_state_dict({"bank": plain.weight[None], "bias": plain.bias}, strict=False)
        if preset != "cconv":
            layer.weight_scale = 1.0
            nn.init.zeros_(layer.style.weight)
        x = torch.randn(3, 4, 6, 5)
        y = run(layer, x, Condition(torch.randn(3, LATENT_DIM), torch.tensor([0, 1, 2])))
        torch.testing.assert_close(y, plain(x), rtol=0, atol=1e-6)


# ---- precision ---------------------------------------------------------------------------------------------------------


# ---- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "keywords", "message"),
    [
        ("condconv", {"resample": "up", "padding": 0}, "needs padding 1"),
        ("dyconv", {"groups": 4}, "out_channels=6"),
        ("condconv", {"num_kernels": 0}, "positive"),
        ("odconv", {"strategy": "wide"}, "does not support gates per tap"),
        ("odconv", {"bias": "dynamic"}, "static bias or none"),
        ("gigagan", {"bias": "dynamic"}, "static bias or none"),
        ("dyconv", {"temperature": 0.0}, "temperature"),
    ],
)
def test_contradictory_options_are_refused(preset: str, keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(preset, **keywords)


def test_a_condition_that_does_not_fit_is_refused() -> None:
    x, condition = inputs()
    assert condition.z is not None
    with pytest.raises(ValueError, match="CConv2d is class-conditional, but its condition has no y"):
        run(build("cconv"), x, Condition(z=condition.z))
    for preset, name in {"stylegan2": "ModulatedConv2d", "gigagan": "AdaptiveConv2d"}.items():
        with pytest.raises(ValueError, match=f"{name} is a function of the latent vector, but its condition has no z"):
            run(build(preset), x, Condition(y=condition.y))
        with pytest.raises(ValueError, match=f"{name} was built for latent_dim=5, but its condition has 4"):
            run(build(preset), x, Condition(z=condition.z[:, :4]))
        with pytest.raises(ValueError, match="2 samples does not fit 3 images"):
            run(build(preset), x, Condition(z=condition.z[:2]))


def test_only_layers_that_need_a_condition_take_one() -> None:
    assert not any(issubclass(kind, Conditioned) for kind in (CondConv2d, DyConv2d, ODConv2d))
    assert issubclass(AdaptiveConv2d, Conditioned)
    assert all(issubclass(kind, KernelBank2d) for kind, _ in PRESETS.values())


# ---- a single kernel ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["dyconv", "odconv"])
def test_attention_over_a_single_kernel_is_one_and_keeps_its_temperature(preset: str) -> None:
    layer = build(preset, num_kernels=1)
    assert not list(layer.gate.parameters())
    assert layer.gate.temperature == 2
    mean = torch.randn(7, layer.gate.features, dtype=torch.float64)
    assert torch.equal(layer.gate(mean), torch.ones(1, 1))


def test_gates_of_a_generative_convolution_with_a_single_kernel() -> None:
    softmax, sigmoid = (GConv2d(4, 6, 3, latent_dim=5, mode="bank", num_kernels=1, selection=name) for name in ("softmax", "sigmoid"))
    assert not list(softmax.gate.parameters())
    assert list(sigmoid.gate.parameters())
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(softmax(x, Condition(torch.randn(2, 5))), nn.functional.conv2d(x, softmax.bank[0], softmax.bias))
