"""One contract for every public layer: shapes, dtypes, gradients, modes, copies, layouts. A new layer adds a line to ``CONTRACTS``."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args, get_origin, get_type_hints

import jaxtyping
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from gconv_gan import layers
from gconv_gan.layers import Condition, Conditioned, apply
from gconv_gan.layers.dynamic.kernel_banks import ConvOptions
from gconv_gan.layers.weights import channels_last as lay_out_channels_last

LATENT, CLASSES = 5, 3


@dataclass(frozen=True)
class Contract:
    """A constructor, input and output shape, and exceptions from the contract."""

    make: Callable[[], nn.Module]
    output: tuple[int, ...] = (4, 8, 6, 5)
    input: tuple[int, ...] = (4, 8, 6, 5)
    batch_coupled: bool = False
    """In training an image's output depends on the other images."""
    twice_differentiable: bool = True
    batch_of_one: bool = True
    """Trains on a single image."""
    evaluates_by_batch: bool = False
    """In evaluation, too, an image's output depends on the other images, and a single image is refused."""


CONTRACTS: dict[str, Contract] = {
    "adaptive_conv": Contract(
        lambda: layers.AdaptiveConv2d(8, 6, 3, latent_dim=LATENT, gate_init_std=0.5, padding=1, resample="up"), (4, 6, 12, 10)
    ),
    "batch_norm": Contract(lambda: layers.BatchNorm2d(8), batch_coupled=True),
    "c_conv": Contract(lambda: layers.CConv2d(8, 6, 3, num_classes=CLASSES, padding=1, resample="down"), (4, 6, 3, 2)),
    "class_conditional_norm": Contract(
        lambda: layers.ClassConditionalNorm2d(layers.IterNorm(8, affine=False), 8, CLASSES), batch_coupled=True
    ),
    "cond_conv": Contract(lambda: layers.CondConv2d(8, 6, 3, padding=1, groups=2), (4, 6, 6, 5)),
    "conditional_batch_norm": Contract(lambda: layers.ConditionalBatchNorm2d(8, CLASSES), batch_coupled=True),
    "conv_norm": Contract(lambda: layers.ConvNorm2d(8, 6, 3, stride=2, padding=1), (4, 6, 3, 3)),
    "conv_norm 1x1": Contract(lambda: layers.ConvNorm2d(8, 6, 1, scale="exact"), (4, 6, 6, 5)),
    "conv_norm affine, bn": Contract(lambda: layers.ConvNorm2d(8, 6, 3, affine=True, bn=True), (4, 6, 4, 3), batch_coupled=True),
    "dy_conv": Contract(lambda: layers.DyConv2d(8, 6, 3, padding=1), (4, 6, 6, 5)),
    "g_ghost_stage": Contract(lambda: layers.GGhostStage(8, 12, 3, group_width=4), (4, 12, 3, 3), batch_coupled=True, batch_of_one=False),
    "gconv bank": Contract(lambda: layers.GConv2d(8, 6, 3, latent_dim=LATENT, mode="bank", gate_init_std=0.5), (4, 6, 4, 3)),
    "gconv bank, per channel": Contract(
        lambda: layers.GConv2d(8, 6, 3, latent_dim=LATENT, mode="bank", granularity="channel", gate_init_std=0.5, padding=1), (4, 6, 6, 5)
    ),
    "gconv dictionary": Contract(
        lambda: layers.GConv2d(8, 6, 3, latent_dim=LATENT, gate_init_std=0.5, padding=1, resample="up"), (4, 6, 12, 10)
    ),
    "ghost": Contract(lambda: layers.GhostModule(8, 7, 3, padding=1), (4, 7, 6, 5)),
    "ghost bottleneck": Contract(lambda: layers.GhostBottleneck(8, 12, 6, 3, 2), (4, 6, 3, 3), batch_coupled=True),
    "group_norm": Contract(lambda: layers.GroupNorm(8)),
    "group_norm_plus": Contract(lambda: layers.GroupNormPlus(8, num_groups=4), batch_coupled=True),
    "group_norm_plus by position": Contract(
        lambda: layers.GroupNormPlus(8, num_groups=4, statistics="batch_position"),
        batch_coupled=True,
        batch_of_one=False,
        evaluates_by_batch=True,
    ),
    "input_batch_norm": Contract(lambda: layers.InputBatchNorm2d(8), batch_coupled=True),
    "invariant_conv": Contract(
        lambda: layers.InvariantConv2d(8, 6, 3, stride=2, padding=1, block_size=4, sampling_stride=1), (4, 6, 3, 3), batch_coupled=True
    ),
    "invariant_conv up, groups": Contract(
        lambda: layers.InvariantConv2d(8, 6, 3, padding=1, groups=2, local_norm="l1", resample="up"), (4, 6, 12, 10), batch_coupled=True
    ),
    "invariant_conv without whitening": Contract(lambda: layers.InvariantConv2d(8, 6, 3, whiten=False), (4, 6, 4, 3)),
    "iter_norm": Contract(lambda: layers.IterNorm(8), batch_coupled=True),
    "iter_norm, two groups, running covariance": Contract(
        lambda: layers.IterNorm(8, group_size=4, running="covariance", affine=False), batch_coupled=True
    ),
    "modulated_conv": Contract(lambda: layers.ModulatedConv2d(8, 6, 3, latent_dim=LATENT, stride=2), (4, 6, 2, 2)),
    "mobile multigrid": Contract(
        lambda: layers.MultigridInvertedBottleneck(8, 20, 16, stride=2, group_size=4, dense_below=8), (4, 16, 3, 3), batch_coupled=True
    ),
    "multigrid": Contract(lambda: layers.MultigridChannels2d(8, 16, group_size=4, dense_below=8), (4, 16, 6, 5), batch_coupled=True),
    "latent_batch_norm": Contract(lambda: layers.LatentBatchNorm2d(8, LATENT), batch_coupled=True),
    "latent_norm": Contract(lambda: layers.LatentNorm2d(layers.GroupNorm(8, affine=False), 8, LATENT)),
    "non_local": Contract(lambda: layers.NonLocal2d(8, heads=2), batch_coupled=True),
    "non_local sagan": Contract(lambda: layers.NonLocal2d.sagan(8)),
    "od_conv": Contract(lambda: layers.ODConv2d(8, 6, 3, padding=1), (4, 6, 6, 5), batch_coupled=True, batch_of_one=False),
    "resampled_conv": Contract(lambda: layers.ResampledConv2d(8, 6, 3, padding=1), (4, 6, 6, 5)),
    "resampled_conv down": Contract(lambda: layers.ResampledConv2d(8, 6, 3, padding=1, resample="down"), (4, 6, 3, 2)),
    "resampled_conv up": Contract(lambda: layers.ResampledConv2d(8, 6, 3, padding=1, resample="up"), (4, 6, 12, 10)),
    "residual_attention": Contract(lambda: layers.ResidualAttention(8, trunk_units=1), batch_coupled=True),
    "selective_kernel": Contract(
        lambda: layers.SelectiveKernel2d(8, 12, groups=2, min_reduced_channels=4), (4, 12, 6, 5), batch_coupled=True, batch_of_one=False
    ),
    "self_modulated_batch_norm": Contract(
        lambda: layers.SelfModulatedBatchNorm2d(8, LATENT, num_classes=CLASSES, hidden=7), batch_coupled=True
    ),
    "soft_mask": Contract(lambda: layers.SoftMask(8, depth=2, bottom_units=1), batch_coupled=True),
    "squeeze_excite": Contract(lambda: layers.SqueezeExcite(8, 4)),
    "whitened_unit": Contract(lambda: layers.WhitenedUnit(8, 6, 3, stride=2, activation=nn.ELU), (4, 6, 3, 3), batch_coupled=True),
}

NOT_LAYERS_OF_IMAGES = {
    "Conditioned": "a marker without a forward pass",
    "KernelBank2d": "the base of the dynamic convolutions, without a forward pass",
    "KernelGate": "the base of the gates, without a forward pass",
    "LatentGate": "maps the condition alone; see test_gconv.py",
}

every_layer = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS.keys())


@dataclass(frozen=True)
class Case:
    """A layer with an input and a condition; ``run`` applies it to some of the images."""

    contract: Contract
    layer: nn.Module
    x: Tensor
    z: Tensor
    y: Tensor

    def run(self, x: Tensor | None = None, *, layer: nn.Module | None = None, images: slice = slice(None)) -> Tensor:
        x = self.x[images] if x is None else x
        condition = Condition(self.z.to(x.dtype)[images], self.y[images])
        return apply(self.layer if layer is None else layer, x, condition)


def case(contract: Contract, dtype: torch.dtype = torch.float32) -> Case:
    torch.manual_seed(0)
    layer = contract.make()
    with torch.no_grad():
        for parameter in layer.parameters():  # so that a branch which starts at zero contributes
            parameter.add_(0.1 * torch.randn_like(parameter))
    layer.to(dtype)
    batch = contract.input[0]
    return Case(contract, layer, torch.randn(contract.input).to(dtype), torch.randn(batch, LATENT), torch.arange(batch) % CLASSES)


def buffers(layer: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in layer.named_buffers()}


def test_every_public_layer_has_a_contract() -> None:
    public = {name for name in layers.__all__ if isinstance(value := getattr(layers, name), type) and issubclass(value, nn.Module)}
    covered = {type(contract.make()).__name__ for contract in CONTRACTS.values()}
    assert public - covered - NOT_LAYERS_OF_IMAGES.keys() == set()
    assert NOT_LAYERS_OF_IMAGES.keys() <= public - covered


@every_layer
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_shape_and_dtype_in_both_modes(contract: Contract, dtype: torch.dtype) -> None:
    c = case(contract, dtype)
    before = c.x.clone()
    for mode in (True, False):
        c.layer.train(mode)
        y = c.run()
        assert y.shape == contract.output
        assert y.dtype == dtype
        assert y.isfinite().all()
    assert torch.equal(c.x, before)


@every_layer
def test_gradients_reach_the_input_and_every_parameter(contract: Contract) -> None:
    c = case(contract)
    x = c.x.requires_grad_()
    y = c.run(x)
    y.backward(torch.randn_like(y))
    assert x.grad.isfinite().all()
    assert x.grad.any()
    for name, parameter in c.layer.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@every_layer
def test_derivatives_of_the_input(contract: Contract) -> None:
    c = case(contract, torch.float64)
    x = c.x.requires_grad_()
    assert torch.autograd.gradcheck(c.run, (x,), fast_mode=True)
    if contract.twice_differentiable:
        assert torch.autograd.gradgradcheck(c.run, (x,), fast_mode=True)
        (slope,) = torch.autograd.grad(c.run(x).square().sum(), x, create_graph=True)
        slope.square().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in c.layer.parameters())


@every_layer
def test_evaluation_is_deterministic_changes_nothing_and_keeps_images_apart(contract: Contract) -> None:
    c = case(contract)
    c.run()
    before = buffers(c.layer.eval())
    y = c.run()
    assert torch.equal(y, c.run())
    assert all(torch.equal(buffer, before[name]) for name, buffer in c.layer.named_buffers())
    if not contract.evaluates_by_batch:
        torch.testing.assert_close(c.run(images=slice(1, 2)), y[1:2], rtol=1e-5, atol=1e-5)


@every_layer
def test_training_couples_images_only_where_the_contract_says_so(contract: Contract) -> None:
    c = case(contract, torch.float64)
    y, others = c.run(), c.x.clone()
    others[2:] = torch.randn_like(others[2:])
    torch.manual_seed(0)
    coupled = not torch.allclose(c.run(others)[:2], y[:2], rtol=1e-9, atol=1e-9)
    assert coupled == contract.batch_coupled


@every_layer
def test_a_batch_of_one(contract: Contract) -> None:
    c = case(contract)
    for mode in (True, False):
        c.layer.train(mode)
        if not contract.batch_of_one and (mode or contract.evaluates_by_batch):
            with pytest.raises(ValueError, match="batch"):
                c.run(images=slice(1))
            continue
        y = c.run(images=slice(1))
        assert y.shape == (1, *contract.output[1:])
        assert y.isfinite().all()


@every_layer
def test_state_dict_round_trip_through_a_file(contract: Contract) -> None:
    c = case(contract)
    c.run()
    restored = contract.make()
    restored.load_state_dict(load(save(c.layer.state_dict())))
    assert torch.equal(c.run(layer=restored.eval()), c.run(layer=c.layer.eval()))


@every_layer
def test_a_deep_copy_is_equal_and_independent(contract: Contract) -> None:
    c = case(contract)
    c.run()
    twin = copy.deepcopy(c.layer)
    y = c.run(layer=c.layer.eval())
    assert torch.equal(c.run(layer=twin.eval()), y)
    c.run(layer=twin.train())
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert torch.equal(c.run(), y)


@every_layer
def test_channels_last(contract: Contract) -> None:
    c = case(contract, torch.float64)
    twin = copy.deepcopy(c.layer)
    lay_out_channels_last(twin)
    x = c.x.to(memory_format=torch.channels_last).requires_grad_()
    y, expected = c.run(x, layer=twin), c.run(plain := c.x.requires_grad_())
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    direction = torch.randn_like(expected)
    torch.testing.assert_close(*(torch.autograd.grad(out, leaf, direction)[0] for out, leaf in ((y, x), (expected, plain))))


@every_layer
def test_autocast(contract: Contract) -> None:
    c = case(contract)
    c.x.requires_grad_()
    expected = c.run()
    before = {name: tensor.dtype for name, tensor in c.layer.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        y = c.run()
        loss = y.float().square().mean()
    loss.backward()
    assert (y.float() - expected).norm() < 0.05 * expected.norm()
    assert {name: tensor.dtype for name, tensor in c.layer.state_dict().items()} == before
    assert all(p.grad is None or p.grad.isfinite().all() for p in c.layer.parameters())


@every_layer
def test_no_draw_from_the_global_random_generator(contract: Contract) -> None:
    c = case(contract)
    before = torch.get_rng_state()
    c.run()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Call without the type checks of the tests, as users do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def choices(layer: type[nn.Module]) -> list[str]:
    """Return the arguments of a constructor that are one of several words."""
    hints = get_type_hints(layer.__init__)
    if issubclass(layer, layers.KernelBank2d):
        hints |= get_type_hints(ConvOptions)
    return [name for name, hint in hints.items() if Literal in (get_origin(hint), *map(get_origin, get_args(hint)))]


WITH_CHOICES = [(name, option) for name, contract in CONTRACTS.items() for option in choices(type(contract.make()))]


def test_the_options_of_the_layers_are_found() -> None:
    found = {option for _, option in WITH_CHOICES}
    assert found >= {"mode", "selection", "granularity", "bias", "padding_mode", "resample", "strategy", "scale", "norm", "running", "mask"}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("name", "option"), WITH_CHOICES)
def test_a_misspelt_option_is_named_with_what_is_admitted(name: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = CONTRACTS[name].make
    layer = type(make())
    original = layer.__init__
    monkeypatch.setattr(layer, "__init__", lambda self, *args, **options: original(self, *args, **(options | {option: "bnk"})))
    with pytest.raises(ValueError, match=rf"^{option} = 'bnk' is not among \w+, \w+"):
        make()


@pytest.mark.usefixtures("unchecked_types")
def test_a_misspelt_option_suggests_the_nearest_word() -> None:
    with pytest.raises(ValueError, match=r"^mode = 'bnk' is not among dictionary, bank; did you mean 'bank'\?$"):
        layers.GConv2d(8, 6, 3, latent_dim=LATENT, mode="bnk")
    with pytest.raises(ValueError, match=r"^order = 'whitend' is not among standard, whitened; did you mean 'whitened'\?$"):
        layers.Parts(order="whitend")
    with pytest.raises(ValueError, match=r"^scale = 'exct' is not among none, sqrt_out, exact; did you mean 'exact'\?$"):
        layers.conv_norm(conv := nn.Conv2d(4, 4, 3), scale="exct")
    assert type(conv) is nn.Conv2d


CONDITIONED = {name: contract for name, contract in CONTRACTS.items() if isinstance(contract.make(), Conditioned)}


NEEDS_CLASS = {"c_conv", "class_conditional_norm", "conditional_batch_norm", "self_modulated_batch_norm"}


@pytest.mark.parametrize("name", CONDITIONED)
def test_a_bare_tensor_is_the_latent_vector(name: str) -> None:
    c = case(CONDITIONED[name])
    layer = c.layer.eval()
    if name in NEEDS_CLASS:
        for call in (layer, partial(apply, layer)):
            with pytest.raises(ValueError, match=r"is class-conditional, but its condition has no y: give Condition\(z, y\)$"):
                call(c.x, c.z)
        return
    expected = layer(c.x, Condition(c.z))
    assert torch.equal(layer(c.x, c.z), expected)
    assert torch.equal(layer(c.x, condition=c.z), expected)
    assert torch.equal(apply(layer, c.x, c.z), expected)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("contract", CONDITIONED.values(), ids=CONDITIONED.keys())
def test_a_wrong_type_of_condition_is_named(contract: Contract) -> None:
    c = case(contract)
    for call in (c.layer, partial(apply, c.layer)):
        with pytest.raises(ValueError, match=r"this one holds torch\.int64: give classes as Condition\(y=\.\.\.\)"):
            call(c.x, c.y)
        with pytest.raises(TypeError, match="is a Condition, or a tensor of latent vectors, not NoneType"):
            call(c.x, None)


def test_layers_without_a_condition_take_a_bare_tensor_from_apply() -> None:
    layer, x = nn.Conv2d(8, 8, 1), torch.randn(4, 8, 3, 3)
    assert torch.equal(apply(layer, x, torch.randn(4, LATENT)), layer(x))


@pytest.mark.usefixtures("unchecked_types")
def test_gates_take_a_bare_tensor() -> None:
    gate, z = layers.LatentGate(LATENT, 3), torch.randn(4, LATENT)
    assert torch.equal(gate(z), gate(Condition(z)))
    with pytest.raises(ValueError, match=r"takes latent vectors of shape \[batch, 5\], not \[5\]"):
        gate(z[0])
