"""Penalties against closed forms, a slow reference, and finite differences, in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.config.schema import constructor
from gconv_gan.layers.conditioning import Condition
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.dynamic.per_sample_conv import ADMISSIBLE
from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d
from gconv_gan.layers.lipschitz.spectral_norm import spectral_norm
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.losses.penalties import Critic, Examples, Penalty, PenaltyInputs
from gconv_gan.losses.tables import PENALTIES

B, S = 3, 4
CONFIGS: list[Any] = [model() for kind, model in PENALTIES.models().items() if kind != "none"]
ONE_CENTRED, ZERO_CENTRED = {"wgan_gp", "dragan"}, {"r1", "r2", "r1_r2"}


def penalty_of(config: Any) -> Penalty:
    penalty: Penalty = constructor(config)()
    return penalty


def inputs(penalty: Penalty, seed: int = 0) -> PenaltyInputs:
    generator = torch.Generator().manual_seed(seed)
    reals, fakes = torch.randn(2, B, 3, S, S, generator=generator, dtype=torch.float64)
    noise = torch.rand(B, penalty.numbers_per_image(3 * S * S), generator=generator, dtype=torch.float64)
    return PenaltyInputs(Examples(reals, torch.arange(B)), Examples(fakes, torch.arange(B) + B), noise, reals.std())


def test_every_kind_of_penalty_is_tested() -> None:
    assert {config.kind for config in CONFIGS} == ONE_CENTRED | ZERO_CENTRED


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_the_penalty_of_a_linear_critic_is_that_of_its_slope(config: Any) -> None:
    w = torch.randn(3, S, S, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    penalty = penalty_of(config)
    value = penalty(lambda examples: (examples.images * w).sum((1, 2, 3)), inputs(penalty))
    if config.kind in ONE_CENTRED:
        expected = config.weight * (w.norm() - 1) ** 2
    else:
        expected = config.gamma / 2 * w.square().sum() * (2 if config.kind == "r1_r2" else 1)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_the_penalty_of_a_quadratic_critic_is_at_the_points_of_the_equation(config: Any) -> None:
    # D(x) = ½‖x‖² has the gradient x
    penalty = penalty_of(config)
    given = inputs(penalty)
    reals, fakes, noise = given.reals.images, given.fakes.images, given.noise
    value = penalty(lambda examples: 0.5 * examples.images.square().sum((1, 2, 3)), given)
    squares = [images.square().sum((1, 2, 3)).mean() for images in (reals, fakes)]
    match config.kind:
        case "r1":
            expected = config.gamma / 2 * squares[0]
        case "r2":
            expected = config.gamma / 2 * squares[1]
        case "r1_r2":
            expected = config.gamma / 2 * (squares[0] + squares[1])
        case "wgan_gp":
            points = [noise[i, 0] * reals[i] + (1 - noise[i, 0]) * fakes[i] for i in range(B)]
            expected = config.weight * torch.stack([(p.norm() - 1) ** 2 for p in points]).mean()
        case "dragan":
            points = [reals[i] + noise[i, 0] * 0.5 * reals.std() * noise[i, 1:].view(3, S, S) for i in range(B)]
            expected = config.weight * torch.stack([(p.norm() - 1) ** 2 for p in points]).mean()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("kind", "labels"), [("r1", "reals"), ("r2", "fakes"), ("r1_r2", "both"), ("wgan_gp", "reals"), ("dragan", "reals")]
)
def test_the_critic_receives_the_labels_of_its_points(kind: str, labels: str) -> None:
    (config,) = [c for c in CONFIGS if c.kind == kind]
    penalty, asked = penalty_of(config), []

    def critic(examples: Examples) -> Tensor:
        asked.append(examples.labels)
        return examples.images.sum((1, 2, 3))

    penalty(critic, inputs(penalty))
    (found,) = asked
    assert found.tolist() == {"reals": [0, 1, 2], "fakes": [3, 4, 5], "both": [0, 1, 2, 3, 4, 5]}[labels]


@pytest.mark.parametrize("kind", sorted(ONE_CENTRED))
def test_the_penalty_of_a_constant_critic_is_the_weight_with_a_finite_gradient(kind: str) -> None:
    (config,) = [c for c in CONFIGS if c.kind == kind]
    penalty, w = penalty_of(config), torch.zeros(3, S, S, dtype=torch.float64, requires_grad=True)
    value = penalty(lambda examples: (examples.images * w).sum((1, 2, 3)), inputs(penalty))
    value.backward()
    assert value.item() == pytest.approx(config.weight)
    assert w.grad is not None
    assert torch.isfinite(w.grad).all()


# ---- exact second derivatives through every layer a discriminator may hold -----------------------------------------


class Bank(nn.Module):
    """A GConv2d bank of each sample's own mixture, the latent fixed: per-sample convolution inside a critic."""

    def __init__(self, **gconv: Any) -> None:
        super().__init__()
        self.conv = GConv2d(3, 4, 3, latent_dim=2, mode="bank", num_kernels=2, gate_init_std=1.0, padding=1, **gconv)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.linspace(-1, 1, 2 * len(x), dtype=x.dtype).view(-1, 2)
        return self.conv(x, Condition(z))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: ResampledConv2d(3, 4, 3, padding=1),
    "down": lambda: ResampledConv2d(3, 4, 3, padding=1, resample="down"),
    "up": lambda: ResampledConv2d(3, 4, 3, padding=1, resample="up"),
    "spectral": lambda: spectral_norm(ResampledConv2d(3, 4, 3, padding=1, resample="down")).eval(),
    "conv_norm": lambda: ConvNorm2d(3, 4, 3, padding=1, detach=False),
    "conv_norm detached": lambda: ConvNorm2d(3, 4, 3, padding=1),
    "conv_norm down": lambda: ConvNorm2d(3, 4, 3, padding=1, detach=False, resample="down"),
    "conv_norm 1x1": lambda: ConvNorm2d(3, 4, 1, detach=False),
    "conv_norm exact": lambda: ConvNorm2d(3, 4, 3, padding=1, detach=False, scale="exact"),
    "conv_norm affine": lambda: ConvNorm2d(3, 4, 3, padding=1, detach=False, affine=True),
    **{
        f"per sample {strategy}": lambda strategy=strategy: Bank(strategy=strategy)
        for strategy in ADMISSIBLE["kernel"]
        if strategy != "bucketed"
    },
}


@pytest.mark.parametrize("kind", ["r1", "wgan_gp"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_of_a_penalty_equals_its_finite_differences(name: str, kind: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    (config,) = [c for c in CONFIGS if c.kind == kind]
    penalty = penalty_of(config)
    given, readout = inputs(penalty), torch.randn(4, dtype=torch.float64)

    def critic(examples: Examples) -> Tensor:
        return (layer(examples.images).tanh().mean((2, 3)) * readout).sum(1)  # tanh: a gradient that depends on the image

    (weight,) = [p for key, p in layer.named_parameters() if key.endswith(("weight", "original", "bank")) and p.ndim >= 4][:1]
    penalty(critic, given).backward()
    assert weight.grad is not None
    if "detached" in name:  # the preconditioner is a constant of the backward pass only: differences would see it move
        return _frozen_gain_agrees(layer, critic, penalty, given, weight)
    for seed in range(2):
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        torch.testing.assert_close(
            (weight.grad * direction).sum(), _difference(critic, penalty, given, weight, direction), rtol=1e-6, atol=1e-9
        )
    return None


def _difference(critic: Critic, penalty: Penalty, given: PenaltyInputs, weight: Tensor, direction: Tensor) -> Tensor:
    step, values = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step * direction
        values.append(penalty(critic, given).detach())
        with torch.no_grad():
            weight -= sign * step * direction
    return (values[0] - values[1]) / (2 * step)


def _frozen_gain_agrees(layer: ConvNorm2d, critic: Critic, penalty: Penalty, given: PenaltyInputs, weight: Tensor) -> None:
    gain = layer.spectral_gain((S + 2, S + 2), torch.float64).detach()
    layer.spectral_gain = lambda *_: gain  # type: ignore[method-assign]
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert weight.grad is not None
    torch.testing.assert_close(
        (weight.grad * direction).sum(), _difference(critic, penalty, given, weight, direction), rtol=1e-6, atol=1e-9
    )
