"""The losses of both steps: their gradients equal those of the explicit objective, for any number of micro-batches."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gconv_gan.augment.diff_augment import DiffAugment
from gconv_gan.augment.weak_augment import weak_augment
from gconv_gan.commands.train.objective import build_objective
from gconv_gan.config.schema import constructor
from gconv_gan.layers.lipschitz.spectral_norm import PowerIterations, apply_spectral_norm
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.losses.adversarial import Hinge, RelativisticPairing
from gconv_gan.losses.consistency import Consistency
from gconv_gan.losses.lecam import LeCam
from gconv_gan.losses.objective import Numbers, Objective, discriminator_loss, generator_loss
from gconv_gan.losses.penalties import Examples, Penalty
from gconv_gan.losses.top_k import TopK
from gconv_gan.models.gan.resnet import ResNetDiscriminator, ResNetGenerator
from gconv_gan.runtime.modes import frozen
from gconv_gan.training.gan_inputs import DiscriminatorInputs, GeneratorInputs
from gconv_gan.training.step import over_micro_batches
from tests.losses.test_penalties import CONFIGS
from tests.training.tiny import tiny

B, CLASSES = 8, 3
AUGMENT = DiffAugment()


def norm_free(channels: int) -> nn.Module:
    return nn.Identity()


def networks(*, normalised: bool = False) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    generator = ResNetGenerator(image_size=8, width=4, latent_dim=5, num_classes=CLASSES, norm=norm_free)
    generator.last_norm = nn.Identity()
    discriminator = ResNetDiscriminator(image_size=8, width=4, num_classes=CLASSES)
    if normalised:
        apply_spectral_norm(discriminator)
    return generator.double(), discriminator.double()


def coupling_discriminator() -> nn.Module:
    torch.manual_seed(0)
    return ResNetDiscriminator(image_size=8, width=4, num_classes=CLASSES, block_norm=BatchNorm2d).double()


def d_inputs(penalty: Penalty | None) -> DiscriminatorInputs:
    generator = torch.Generator().manual_seed(1)

    def uniform(numbers: int) -> Tensor:
        return torch.rand(B, numbers, generator=generator, dtype=torch.float64)

    reals = uniform(3 * 64).view(B, 3, 8, 8) * 2 - 1
    labels = torch.randint(CLASSES, (2, B), generator=generator)
    z = torch.randn(B, 5, generator=generator, dtype=torch.float64)
    noise = uniform(0 if penalty is None else penalty.numbers_per_image(3 * 64))
    return DiscriminatorInputs(reals, labels[0], z, labels[1], uniform(7), uniform(7), uniform(3), uniform(3), noise, reals.std())


def lecam() -> LeCam:
    regulariser = LeCam(weight=0.3, decay=0.9, start_images=100).double()
    regulariser.real.fill_(0.3)
    regulariser.fake.fill_(-0.2)
    regulariser.begin(100)
    return regulariser


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def backward(value: Tensor) -> None:
    value.backward()


def d_step(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    inputs: DiscriminatorInputs,
    *,
    penalty_factor: float = 0.0,
    backward: Callable[[Tensor], None],
    share: float = 1.0,
    exact: Any = None,
) -> dict[str, Tensor]:
    """Accumulate the discriminator's gradient on one micro-batch."""
    with torch.no_grad():
        fakes = generator(inputs.z, inputs.fake_labels)
    loss, statistics = discriminator_loss(
        discriminator,
        Examples(inputs.reals, inputs.real_labels, inputs.real_draws),
        Examples(fakes, inputs.fake_labels, inputs.fake_draws),
        objective,
        Numbers(inputs.real_twin_draws, inputs.fake_twin_draws, inputs.penalty_noise, inputs.real_std),
        penalised=penalty_factor > 0,
        penalty_factor=torch.tensor(penalty_factor),
        exact=exact,
    )
    backward(loss * share)
    return statistics


def g_step(
    generator: nn.Module, discriminator: nn.Module, objective: Objective, inputs: GeneratorInputs, *, weights: Any = None, backward: Any
) -> dict[str, Tensor]:
    """Accumulate the generator's gradient through a frozen discriminator."""
    with frozen(discriminator):
        fakes = Examples(generator(inputs.z, inputs.fake_labels), inputs.fake_labels, inputs.fake_draws)
        reals = None if inputs.reals is None else Examples(inputs.reals, inputs.real_labels, inputs.real_draws)
        loss, statistics = generator_loss(discriminator, fakes, objective, reals=reals, weights=weights)
        backward(loss)
    return statistics


def assert_equal_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("kind", ["r1", "r2", "r1_r2"])
def test_the_discriminators_gradient_is_that_of_the_whole_objective(kind: str) -> None:
    generator, discriminator = networks()
    penalty = constructor(next(c for c in CONFIGS if c.kind == kind))()
    objective = Objective(Hinge(), AUGMENT, penalty, Consistency(10.0, 5.0), lecam())
    inputs = d_inputs(penalty)
    statistics = d_step(generator, discriminator, objective, inputs, penalty_factor=16.0, backward=backward)
    ours = gradients(discriminator)
    discriminator.zero_grad()

    reals, y_r, z, y_f, u_r, u_f, t_r, t_f, *_ = inputs
    fakes = generator(z, y_f).detach()
    r1 = torch.zeros((), dtype=torch.float64)
    for images, labels, numbers in {"r1": [(reals, y_r, u_r)], "r2": [(fakes, y_f, u_f)]}.get(kind, [(reals, y_r, u_r), (fakes, y_f, u_f)]):
        raw = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(AUGMENT(raw, numbers), labels).sum(), raw, create_graph=True)
        r1 = r1 + 0.01 / 2 * slope.square().sum((1, 2, 3)).mean()
    real, fake = AUGMENT(reals, u_r), AUGMENT(fakes, u_f)
    s_r, s_f = discriminator(real, y_r), discriminator(fake, y_f)
    twins = discriminator(weak_augment(real, t_r), y_r), discriminator(weak_augment(fake, t_f), y_f)
    hinge = (1 - s_r).relu().mean() + (1 + s_f).relu().mean()
    agreement = 10 * (s_r - twins[0]).square().mean() + 5 * (s_f - twins[1]).square().mean()
    held = 0.3 * ((s_r + 0.2).relu().square().mean() + (0.3 - s_f).relu().square().mean())
    (hinge + agreement + held + 16 * r1).backward()
    assert_equal_gradients(ours, gradients(discriminator))
    expected = {"loss_d": hinge, "penalty": r1, "consistency": agreement, "lecam": held, "d_real": s_r.mean(), "d_fake": s_f.mean()}
    for name, value in expected.items():
        torch.testing.assert_close(statistics[name], value.detach(), msg=name)
    assert statistics["accuracy_real"].item() == (s_r > 0).double().mean().item()
    assert statistics["sign_real"].item() == s_r.sign().mean().item()
    assert not any(value.requires_grad for value in statistics.values())


def test_on_other_steps_there_is_no_penalty() -> None:
    generator, discriminator = networks()
    penalty = constructor(CONFIGS[0])()
    found = []
    for objective in (Objective(Hinge()), Objective(Hinge(), penalty=penalty)):
        discriminator.zero_grad()
        assert "penalty" not in d_step(generator, discriminator, objective, d_inputs(penalty), backward=backward)
        found.append(gradients(discriminator))
    assert_equal_gradients(*found, tolerance=0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_micro_batches_sum_to_the_gradient_of_the_batch_also_under_spectral_norm(config: Any) -> None:
    penalty = constructor(config)()
    assert penalty is not None
    objective = Objective(Hinge(), AUGMENT, penalty, Consistency(1.0, 1.0), lecam())
    found, statistics = [], []
    for count in (1, 4):
        generator, discriminator = networks(normalised=True)

        def step(part: DiscriminatorInputs, **how: Any) -> dict[str, Tensor]:
            return d_step(generator, discriminator, objective, part, penalty_factor=2.0, **how)  # noqa: B023

        with PowerIterations(generator, discriminator).once():
            statistics.append(over_micro_batches(step, d_inputs(penalty), discriminator, count=count))
        found.append(gradients(discriminator))
    assert_equal_gradients(*found)
    for name, value in statistics[0].items():
        torch.testing.assert_close(value, statistics[1][name], msg=name)


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_the_penalty_is_computed_in_full_precision_under_autocast() -> None:
    penalty = constructor(next(c for c in CONFIGS if c.kind == "wgan_gp"))()
    discriminator = networks()[1].float()
    inputs = DiscriminatorInputs(*(t.float() if t is not None and t.is_floating_point() else t for t in d_inputs(penalty)))
    objective = Objective(Hinge(), penalty=penalty)

    class Fixed(nn.Module):
        """The same fakes for both, whatever their precision."""

        def forward(self, *_: Any) -> Tensor:
            return inputs.reals.flip(0)

    fakes = Fixed()
    exact = d_step(fakes, copy.deepcopy(discriminator), objective, inputs, penalty_factor=1.0, backward=backward)
    prepared = Accelerator(mixed_precision="bf16", cpu=True).prepare(discriminator)
    mixed = d_step(fakes, prepared, objective, inputs, penalty_factor=1.0, backward=backward, exact=discriminator)
    assert torch.equal(exact["penalty"], mixed["penalty"])
    assert not torch.equal(exact["loss_d"], mixed["loss_d"])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_a_penalty_in_full_precision_has_the_gradient_of_a_penalty_in_the_loss(config: Any) -> None:
    penalty = constructor(config)()
    generator, discriminator = networks()
    apply_spectral_norm(discriminator)
    objective = Objective(Hinge(), augment=AUGMENT, penalty=penalty)
    inputs = d_inputs(penalty)
    found = []
    for exact in (False, True):
        network = copy.deepcopy(discriminator)
        with PowerIterations(network).once():
            d_step(
                generator, network, objective, inputs, penalty_factor=3.0, backward=backward, share=0.5, exact=network if exact else None
            )
        found.append(gradients(network))
    assert_equal_gradients(*found)


@pytest.mark.parametrize("regularised", [False, True])
def test_a_discriminator_that_couples_images_sees_reals_fakes_and_twins_alone(regularised: bool) -> None:
    generator, _ = networks()
    discriminator = coupling_discriminator()
    objective = Objective(Hinge(), consistency=Consistency(2.0, 3.0) if regularised else None, apart=True)
    inputs = d_inputs(None)
    seen: list[Tensor] = []
    handle = discriminator.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    d_step(generator, discriminator, objective, inputs, backward=backward)
    handle.remove()
    ours = gradients(discriminator)
    discriminator.zero_grad()

    reals, y_r, z, y_f, _, _, t_r, t_f, *_ = inputs
    fakes = generator(z, y_f).detach()
    parts = [(reals, y_r), (fakes, y_f)]
    if regularised:
        parts += [(weak_augment(reals, t_r), y_r), (weak_augment(fakes, t_f), y_f)]
    for ours_seen, (images, _) in zip(seen, parts, strict=True):
        torch.testing.assert_close(ours_seen, images)
    s_r, s_f, *twins = (discriminator(images, labels) for images, labels in parts)
    total = (1 - s_r).relu().mean() + (1 + s_f).relu().mean()
    if regularised:
        total = total + 2 * (s_r - twins[0]).square().mean() + 3 * (s_f - twins[1]).square().mean()
    total.backward()
    assert_equal_gradients(ours, gradients(discriminator))
    discriminator.zero_grad()
    d_step(generator, discriminator, replace(objective, apart=False), inputs, backward=backward)
    joint = gradients(discriminator)["blocks.1.conv1.weight"]
    assert (joint - ours["blocks.1.conv1.weight"]).abs().max() > 0.01 * joint.abs().max()


def test_the_generators_step_compares_with_reals_apart() -> None:
    generator, discriminator = networks()[0], coupling_discriminator()
    inputs = g_inputs(relativistic=True)
    g_step(generator, discriminator, Objective(RelativisticPairing(), apart=True), inputs, backward=backward)
    ours = gradients(generator)
    generator.zero_grad()
    s_f = discriminator(generator(inputs.z, inputs.fake_labels), inputs.fake_labels)
    s_r = discriminator(inputs.reals, inputs.real_labels).detach()
    torch.nn.functional.softplus(s_r - s_f).mean().backward()
    assert_equal_gradients(ours, gradients(generator))


@pytest.mark.parametrize(
    ("parts", "apart"),
    [
        ({}, False),
        ({"block_norm": {"kind": "group"}}, False),
        ({"block_norm": {"kind": "batch"}}, True),
        ({"norm": {"kind": "conv_norm", "bn": True}}, True),
    ],
)
def test_the_config_decides_which_images_are_passed_separately(tmp_path: Path, parts: dict[str, Any], apart: bool) -> None:
    config = tiny(tmp_path, discriminator=parts)
    assert build_objective(config, nn.Identity(), None).apart is apart


def test_no_weight_no_regulariser(tmp_path: Path) -> None:
    none = build_objective(tiny(tmp_path), nn.Identity(), None)
    assert (none.consistency, none.lecam, none.top_k) == (None, None, None)
    changes = {"consistency": {"real_weight": 10.0}, "lecam": {"weight": 0.3}, "top_k": {"final_fraction": 0.5}}
    every = build_objective(tiny(tmp_path, objective=changes), nn.Identity(), None)
    assert every.consistency == Consistency(10.0, 0.0)
    assert every.lecam is not None
    assert (every.lecam.weight, every.lecam.decay, every.lecam.start_images) == (0.3, 0.99, 64_000)
    assert every.top_k is not None
    assert (every.top_k.batch_size, every.top_k.final_fraction, every.top_k.decay_images) == (16, 0.5, 50_000)


# ---- the generator's step ------------------------------------------------------------------------------------------


def g_inputs(*, relativistic: bool) -> GeneratorInputs:
    reals, y_r, z, y_f, u_r, u_f, *_ = d_inputs(None)
    return GeneratorInputs(z, y_f, u_f, reals, y_r, u_r) if relativistic else GeneratorInputs(z, y_f, u_f)


def test_the_generators_gradient_goes_through_augmentation_and_frozen_discriminator() -> None:
    generator, discriminator = networks()
    inputs = g_inputs(relativistic=False)
    value = g_step(generator, discriminator, Objective(Hinge(), AUGMENT), inputs, backward=backward)["loss_g"]
    ours = gradients(generator)
    assert not gradients(discriminator)
    assert all(p.requires_grad for p in discriminator.parameters())
    generator.zero_grad()
    expected = -discriminator(AUGMENT(generator(inputs.z, inputs.fake_labels), inputs.fake_draws), inputs.fake_labels).mean()
    expected.backward()
    assert_equal_gradients(ours, gradients(generator))
    torch.testing.assert_close(value, expected.detach())


def test_a_relativistic_generator_is_compared_with_its_own_reals() -> None:
    generator, discriminator = networks()
    inputs = g_inputs(relativistic=True)
    g_step(generator, discriminator, Objective(RelativisticPairing(), AUGMENT), inputs, backward=backward)
    ours = gradients(generator)
    generator.zero_grad()
    s_f = discriminator(AUGMENT(generator(inputs.z, inputs.fake_labels), inputs.fake_draws), inputs.fake_labels)
    s_r = discriminator(AUGMENT(inputs.reals, inputs.real_draws), inputs.real_labels).detach()
    torch.nn.functional.softplus(s_r - s_f).mean().backward()
    assert_equal_gradients(ours, gradients(generator))


def test_top_k_uses_the_gradient_of_the_best_images_alone() -> None:
    generator, discriminator = networks()
    inputs = g_inputs(relativistic=False)
    best = TopK(batch_size=B, final_fraction=3 / B, decay=0.5, decay_images=1)
    best.begin(10**9)
    g_step(generator, discriminator, Objective(Hinge()), inputs, weights=best, backward=backward)
    ours = gradients(generator)
    generator.zero_grad()
    logits = discriminator(generator(inputs.z, inputs.fake_labels), inputs.fake_labels)
    (-logits.sort(descending=True).values[:3].mean()).backward()
    assert_equal_gradients(ours, gradients(generator))
