"""GConv2d: its definition, gates, initial state and refusals."""

import copy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv_gan.layers.conditioning import Condition, Conditioned
from gconv_gan.layers.dynamic import dictionary_conv, mixed_kernels
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.dynamic.kernel_gates import LatentGate
from gconv_gan.layers.resample import ResampledConv2d
from tests.reference.per_sample_conv import bank_conv
from tests.reference.per_sample_conv import dictionary_conv as dictionary_reference

D = 5
ANY_LAYER = [
    {"mode": "dictionary"},
    {"mode": "dictionary", "num_kernels": 12, "bias": "dynamic", "resample": "up"},
    {"mode": "dictionary", "num_kernels": 4, "selection": "softmax", "groups": 2},
    {"mode": "bank", "bias": "dynamic"},
    {"mode": "dictionary", "kernel_size": 4, "resample": "transposed"},
    {"mode": "bank", "kernel_size": 4, "resample": "transposed"},
    {"mode": "bank", "num_kernels": 3, "selection": "softmax", "resample": "down", "gate_hidden": 7},
    {"mode": "bank", "granularity": "filter", "bias": "dynamic", "groups": 2},
    {"mode": "bank", "granularity": "channel", "bias": "none", "resample": "up", "selection": "softplus"},
    {"mode": "bank", "granularity": "tap", "resample": "up", "groups": 2},
    {"mode": "bank", "selection": "top_m", "top_m": 2},
]


def layer(seed: int = 0, **keywords: object) -> GConv2d:
    """A 4 -> 6 layer in float64 whose gates depend strongly on z."""
    torch.manual_seed(seed)
    options = {"kernel_size": 3, "latent_dim": D, "padding": 1, "gate_init_std": 1.0} | keywords
    return GConv2d(4, 6, **options).double()  # type: ignore[arg-type]


def inputs(batch: int = 3, side: int = 6) -> tuple[Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 4, side, side, dtype=torch.float64, generator=generator)
    return x, Condition(z=torch.randn(batch, D, dtype=torch.float64, generator=generator))


def reference(conv: GConv2d, x: Tensor, condition: Condition) -> Tensor:
    gates = conv.gate(condition)
    geometry = vars(conv.geometry)
    if conv.mode == "dictionary":
        static, dynamic = (conv.bias, None) if conv.bias_kind == "static" else (None, conv.bias)
        return dictionary_reference(x, conv.dictionary, conv.mix, gates, static, dynamic, **geometry)
    bias = conv.bias
    if conv.bias_kind == "dynamic":
        bias = torch.einsum("bko,ko->bo", gates if gates.ndim == 3 else gates[:, :, None].expand(-1, -1, 6), bias)
    return bank_conv(x, conv.bank, gates, bias, granularity=conv.granularity, **geometry)


# ---- what it equals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keywords", ANY_LAYER, ids=str)
def test_equals_the_definition_in_value_and_gradients(keywords: dict[str, object]) -> None:
    conv = layer(**keywords)
    x, condition = inputs()
    ours, plain = conv(x, condition), reference(conv, x, condition)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-10)
    direction = torch.randn_like(plain)
    parameters = list(conv.parameters())
    for a, b in zip(torch.autograd.grad(ours, parameters, direction), torch.autograd.grad(plain, parameters, direction), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        assert a.abs().max() > 0


@pytest.mark.parametrize("keywords", ANY_LAYER, ids=str)
def test_a_sample_depends_on_its_own_latent_vector_alone(keywords: dict[str, object]) -> None:
    conv = layer(**keywords)
    x, condition = inputs()
    assert condition.z is not None
    before = conv(x, condition)
    moved = condition.z.clone()
    moved[1] += 1
    changed = (conv(x, Condition(z=moved)) - before).abs().amax((1, 2, 3))
    assert changed[1] > 1e-3
    assert changed[[0, 2]].max() == 0
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(conv(x[order], Condition(z=condition.z[order])), before[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("resample", ["none", "up", "down"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_one_kernel_and_an_open_gate_is_a_convolution_to_the_bit(resample: str, kernel: int) -> None:
    torch.manual_seed(0)
    plain = ResampledConv2d(4, 6, kernel, padding=kernel // 2, resample=resample)  # type: ignore[arg-type]
    conv = GConv2d(4, 6, kernel, latent_dim=D, mode="bank", num_kernels=1, selection="open", padding=kernel // 2, resample=resample)  # type: ignore[arg-type]
    assert [name for name, _ in conv.named_parameters()] == ["bank", "bias"]
    conv.load_state_dict({"bank": plain.weight[None], "bias": plain.bias})
    x = torch.randn(3, 4, 8, 8)
    assert torch.equal(conv(x, Condition()), plain(x))
    if resample == "none":
        assert torch.equal(plain(x), F.conv2d(x, plain.weight, plain.bias, padding=kernel // 2))


@pytest.mark.parametrize(
    "keywords", [{}, {"groups": 2}, {"selection": "softmax"}, {"selection": "softplus"}, {"selection": "relu"}], ids=str
)
def test_a_new_dictionary_is_the_convolution_it_replaces(keywords: dict[str, object]) -> None:
    conv = layer(gate_init_std=0.0, **keywords)
    x, condition = inputs()
    expected = F.conv2d(x, conv.dictionary, conv.bias, padding=1, groups=conv.geometry.groups)
    torch.testing.assert_close(conv(x, condition), expected, rtol=0, atol=1e-12)


def test_a_one_hot_gate_picks_its_kernel_and_equal_kernels_are_one() -> None:
    x, condition = inputs()
    conv = layer(mode="bank", selection="relu", gate_init_std=0.0)
    conv.gate.logits.bias.data = torch.tensor([0.0, 0.0, 1.0, 0.0]).double()
    torch.testing.assert_close(conv(x, condition), F.conv2d(x, conv.bank[2], conv.bias, padding=1), rtol=0, atol=1e-12)
    conv = layer(mode="bank", bias="none")
    conv.bank.data[:] = conv.bank.data[:1].clone()
    total = conv.gate(condition).sum(1)[:, None, None, None]
    torch.testing.assert_close(conv(x, condition), total * F.conv2d(x, conv.bank[0], padding=1), rtol=0, atol=1e-12)


def test_a_bank_is_a_dictionary_of_all_its_filters() -> None:
    bank, dictionary = layer(mode="bank", bias="dynamic"), layer(num_kernels=24, bias="dynamic")
    dictionary.dictionary.data = bank.bank.data.flatten(0, 1)
    dictionary.mix.data = torch.eye(6).double().repeat(1, 4) / 2  # a dictionary doubles its sigmoid
    assert dictionary.bias is not None
    assert bank.bias is not None
    dictionary.bias.data = bank.bias.data.flatten()
    dictionary.gate.logits.weight.data = bank.gate.logits.weight.data.repeat_interleave(6, 0)
    dictionary.gate.logits.bias.data = bank.gate.logits.bias.data.repeat_interleave(6, 0)
    x, condition = inputs()
    x.requires_grad_()
    ours, theirs = bank(x, condition), dictionary(x, condition)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    direction = torch.randn_like(ours)
    a = torch.autograd.grad(ours, [x, bank.bank, bank.bias, bank.gate.logits.weight], direction)
    b = torch.autograd.grad(theirs, [x, dictionary.dictionary, dictionary.bias, dictionary.gate.logits.weight], direction)
    torch.testing.assert_close(a[0], b[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(a[1].flatten(0, 1), b[1], rtol=0, atol=1e-10)
    torch.testing.assert_close(a[2].flatten(), b[2], rtol=0, atol=1e-10)
    torch.testing.assert_close(a[3], b[3].view(4, 6, D).sum(1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("keywords", ANY_LAYER, ids=str)
def test_one_latent_vector_may_serve_the_batch(keywords: dict[str, object]) -> None:
    conv = layer(**keywords).eval()
    x, condition = inputs()
    assert condition.z is not None
    shared = Condition(z=condition.z[:1])
    repeated = Condition(z=condition.z[:1].expand(3, -1))
    torch.testing.assert_close(conv(x, shared), conv(x, repeated), rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(conv(x, shared), conv(x, repeated), rtol=0, atol=1e-10)
        torch.testing.assert_close(conv(x[:1], shared), conv(x, repeated)[:1], rtol=0, atol=1e-10)


def test_a_dictionary_never_builds_a_kernel_per_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("kernels were mixed")

    monkeypatch.setattr(mixed_kernels, "mixture", refuse)
    monkeypatch.setattr(dictionary_conv, "_folded", refuse)
    x, condition = inputs()
    with torch.no_grad():
        layer()(x, condition)
        with pytest.raises(AssertionError, match="kernels were mixed"):
            layer(mode="bank", strategy="grouped")(x, condition)


# ---- gates -------------------------------------------------------------------------------------------------------------


def gate(selection: str, **keywords: object) -> LatentGate:
    torch.manual_seed(0)
    return LatentGate(D, 8, selection=selection, gate_init_std=2.0, **keywords).double()  # type: ignore[arg-type]


def test_ranges_of_the_selections() -> None:
    _, condition = inputs(batch=50)
    sigmoid, doubled = gate("sigmoid")(condition), gate("sigmoid", unit=True)(condition)
    assert (sigmoid > 0).all()
    assert (sigmoid < 1).all()
    assert sigmoid.std(0).min() > 0.1
    torch.testing.assert_close(doubled, 2 * sigmoid)
    torch.testing.assert_close(gate("softmax")(condition).sum(1), torch.ones(50).double())
    torch.testing.assert_close(gate("softmax", channels=3)(condition).sum(1), torch.ones(50, 3).double())
    assert (gate("relu")(condition) == 0).any()
    assert (gate("softplus")(condition) > 0).all()
    assert torch.equal(gate("open")(Condition()), torch.ones(1, 8).double())
    assert not list(gate("open").parameters())
    assert not gate("open").state_dict()


def test_the_hard_selection_keeps_the_largest_and_passes_every_gradient() -> None:
    _, condition = inputs(batch=20)
    hard, soft = gate("top_m", top_m=3), gate("sigmoid")
    kept, whole = hard(condition), soft(condition)
    assert torch.equal((kept > 0).sum(1), torch.full((20,), 3))
    assert torch.equal(kept, torch.where(whole >= whole.topk(3).values[:, -1:], whole, 0))
    direction = torch.randn_like(kept)
    torch.testing.assert_close(
        torch.autograd.grad(kept, hard.logits.weight, direction), torch.autograd.grad(whole, soft.logits.weight, direction)
    )


@pytest.mark.parametrize("hidden", [None, 7])
def test_class_conditional_gates_read_the_embedding_beside_the_latent_vector(hidden: int | None) -> None:
    _, condition = inputs(batch=4)
    assert condition.z is not None
    y = torch.tensor([2, 0, 2, 1])
    seeing = gate("sigmoid", num_classes=3, class_dim=6, gate_hidden=hidden)
    both = torch.stack([torch.cat([z, seeing.embedding.weight[c]]) for z, c in zip(condition.z, y, strict=True)])
    assert both.shape == (4, D + 6)
    torch.testing.assert_close(seeing(Condition(condition.z, y)), seeing.logits(both).sigmoid())
    assert "embedding.weight" not in gate("sigmoid").state_dict()
    assert not list(gate("open", num_classes=3).parameters())
    with pytest.raises(ValueError, match="no y"):
        seeing(condition)


def test_the_class_has_no_influence_on_a_new_layer_and_a_gradient() -> None:
    conv = layer(num_classes=3, class_gates=True, class_dim=6, gate_init_std=0.0)
    x, condition = inputs()
    first, second = (conv(x, Condition(condition.z, torch.full((3,), c))) for c in (0, 1))
    assert torch.equal(first, second)
    first.square().sum().backward()
    assert conv.gate.logits.weight.grad[:, D:].abs().max() > 0


def test_temperature_is_stored_and_sharpens() -> None:
    _, condition = inputs(batch=20)
    warm, cold = gate("softmax", temperature=30.0), gate("softmax", temperature=0.1)
    assert warm(condition).max() < 0.25
    assert cold(condition).max() > 0.99
    warm.load_state_dict(cold.state_dict())
    assert torch.equal(warm(condition), cold(condition))


@pytest.mark.parametrize("selection", ["sigmoid", "softmax", "relu", "softplus"])
@pytest.mark.parametrize("temperature", [1.0, 30.0])
def test_without_initial_weights_gates_start_equal_for_every_sample_and_alive(selection: str, temperature: float) -> None:
    _, condition = inputs()
    torch.manual_seed(0)
    unit = LatentGate(D, 8, selection=selection, unit=True, temperature=temperature, gate_hidden=16, gate_init_std=0.0)  # type: ignore[arg-type]
    unit = unit.double()
    gates = unit(condition)
    torch.testing.assert_close(gates, torch.ones(3, 8).double(), rtol=0, atol=1e-12)
    plain = LatentGate(D, 8, selection=selection, temperature=temperature, gate_init_std=0.0).double()  # type: ignore[arg-type]
    torch.testing.assert_close(plain(condition), plain.initial_gates().expand(3, -1))
    gates.square().mul(torch.arange(8)).sum().backward()
    assert unit.logits[-1].weight.grad.abs().max() > 0


def test_gates_stay_in_float32_under_autocast_and_in_a_bfloat16_network() -> None:
    torch.manual_seed(0)
    gate32 = LatentGate(D, 8, gate_init_std=1.0)
    z = torch.randn(3, D)
    expected = gate32(Condition(z=z))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gate32(Condition(z=z)), expected)
    assert gate32.bfloat16()(Condition(z=z.bfloat16())).dtype == torch.float32


def test_a_zero_gate_learns_because_the_kernels_differ() -> None:
    conv = layer(mode="bank", gate_init_std=0.0)
    x, condition = inputs()
    conv(x, condition).square().sum().backward()
    gradient = conv.gate.logits.bias.grad
    assert gradient.std() > 0.1 * gradient.abs().max() > 0


# ---- where it starts ---------------------------------------------------------------------------------------------------


def glorot(weight: Tensor) -> None:
    assert weight.ndim == 4, "an initialiser must never see a bank"
    nn.init.xavier_uniform_(weight, gain=2**0.5)


VARIANCE = [{"mode": "bank", "num_kernels": k, "selection": s} for k, s in product((1, 2, 4, 8), ("sigmoid", "softmax"))] + [
    {"mode": "bank", "selection": "relu"},
    {"mode": "bank", "selection": "softplus"},
    {"mode": "bank", "selection": "open"},
    {"mode": "bank", "selection": "top_m", "top_m": 2},
    {"mode": "bank", "granularity": "channel", "selection": "softmax"},
    {"num_kernels": 16},
    {"num_kernels": 32},
    {"num_kernels": 64},
    {"num_kernels": 80},
    {"num_kernels": 64, "groups": 2},
    {"num_kernels": 16, "groups": 2},
]


@pytest.mark.parametrize("keywords", VARIANCE, ids=str)
def test_variance_at_equal_gates_is_that_of_the_convolution(keywords: dict[str, object]) -> None:
    torch.manual_seed(0)
    conv = GConv2d(48, 32, 3, latent_dim=D, padding=1, bias="none", gate_init_std=0.0, **keywords)  # type: ignore[arg-type]
    plain = nn.Conv2d(48, 32, 3, padding=1, bias=False, groups=conv.geometry.groups)
    glorot(plain.weight)
    conv.reset_kernels(glorot)
    x = torch.randn(16, 48, 15, 15)
    ours, theirs = conv(x, Condition(z=torch.randn(16, D))), plain(x)
    assert ours.numel() > 1e5
    assert 0.9 < ours.var() / theirs.var() < 1.1


def test_default_initialisation_of_each_kernel_is_torchs() -> None:
    torch.manual_seed(0)
    bound = (4 * 9) ** -0.5
    dictionary, bank = layer(num_kernels=600), layer(mode="bank", num_kernels=100, bias="dynamic")
    assert 0.95 * bound < dictionary.dictionary.abs().max() <= bound
    rho = 2 / 100**0.5
    assert 0.95 * bound < bank.bank.abs().max() / rho <= bound * (1 + 1e-6)
    assert bank.bias is not None
    assert 0.8 * bound < bank.bias.abs().max() <= bound


def test_parameter_counts_of_the_paper_reading() -> None:
    def count(**keywords: object) -> int:
        conv = GConv2d(256, 256, 3, latent_dim=128, **keywords)  # type: ignore[arg-type]
        return sum(p.numel() for p in conv.parameters())

    static, baseline = 256 * 256 * 9 + 256, 4_276_739
    assert baseline + 6 * (count() - static) == 4_868_099
    assert [baseline + 6 * (count(mode="bank", num_kernels=k) - static) for k in (2, 4, 8)] == [7_817_231, 14_896_667, 29_055_539]


# ---- state -------------------------------------------------------------------------------------------------------------


def test_state_is_the_same_for_every_strategy_and_resampling() -> None:
    x, condition = inputs()
    first = layer(mode="bank")
    state = copy.deepcopy(first.state_dict())
    assert list(state) == ["bank", "bias", "gate.temperature", "gate.logits.weight", "gate.logits.bias"]
    for strategy, resample in product(("grouped", "bmm", "wide", "concat"), ("none", "up", "down")):
        other = layer(seed=1, mode="bank", strategy=strategy, resample=resample)
        other.load_state_dict(state)
        other.eval()(x, condition)
        other.train()(x, condition)
        assert all(torch.equal(state[name], value) for name, value in other.state_dict().items())
    assert list(layer().state_dict()) == ["dictionary", "mix", "bias", "gate.temperature", "gate.logits.weight", "gate.logits.bias"]


@pytest.mark.parametrize("keywords", ANY_LAYER, ids=str)
def test_a_parameter_changed_in_evaluation_counts_at_once(keywords: dict[str, object]) -> None:
    conv = layer(**keywords).eval()
    x, condition = inputs()
    with torch.no_grad():
        before = conv(x, condition)
        assert torch.equal(conv(x, condition), before)
        for parameter in conv.parameters():
            parameter += 0.1
            after = conv(x, condition)
            assert not torch.equal(after, before)
            before = after


class Exportable(nn.Module):
    def __init__(self, conv: GConv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        result: Tensor = self.conv(x, Condition(z=z))
        return result


@pytest.mark.parametrize(
    "keywords", [{}, {"resample": "up"}, {"mode": "bank", "strategy": "wide"}, {"mode": "bank", "strategy": "concat"}], ids=str
)
def test_an_exported_layer_takes_any_batch(keywords: dict[str, object]) -> None:
    module = Exportable(layer(**keywords)).eval()
    x, condition = inputs(batch=3)
    assert condition.z is not None
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(module, (x, condition.z), dynamic_shapes=({0: batch}, {0: batch})).module()
    x, condition = inputs(batch=5)
    assert condition.z is not None
    torch.testing.assert_close(exported(x, condition.z), module(x, condition.z), rtol=0, atol=1e-12)


# ---- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"resample": "up", "padding": 0}, "needs padding 1"),
        ({"granularity": "filter"}, "belong to mode='bank'"),
        ({"strategy": "wide"}, "belong to mode='bank'"),
        ({"mode": "bank", "granularity": "filter", "strategy": "concat"}, "does not support gates per filter"),
        ({"mode": "bank", "granularity": "channel", "bias": "dynamic"}, "dynamic bias"),
        ({"mode": "bank", "granularity": "tap", "bias": "dynamic"}, "dynamic bias"),
        ({"groups": 4}, "out_channels=6"),
        ({"groups": 2, "num_kernels": 5}, "num_kernels=5"),
        ({"mode": "bank", "num_kernels": 0}, "positive"),
        ({"mode": "bank", "selection": "top_m"}, "give both or neither"),
        ({"mode": "bank", "top_m": 1}, "give both or neither"),
        ({"mode": "bank", "selection": "top_m", "top_m": 5}, "1..4"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_contradictory_options_are_refused(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer(**keywords)


def test_a_condition_that_does_not_fit_is_refused() -> None:
    x, _ = inputs()
    conv = layer()
    assert isinstance(conv, Conditioned)
    with pytest.raises(ValueError, match="no z"):
        conv(x, Condition())
    with pytest.raises(ValueError, match="latent_dim=5"):
        conv(x, Condition(z=torch.randn(3, 4).double()))
    with pytest.raises(ValueError, match="2 latent vectors"):
        conv(x, Condition(z=torch.randn(2, D).double()))
