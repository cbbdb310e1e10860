"""The plain formulation computes what this package's iteration computes, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gconv_gan.commands.cost.plain_formulation import PlainBatch, PlainTraining, main, plain_pairs, sngan
from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.dry_run.step_time import noise_task
from gconv_gan.commands.train.gan_checks import check
from gconv_gan.layers.lipschitz.spectral_norm import PowerIterations
from gconv_gan.training.adversarial import Adversarial, Inputs

pytestmark = pytest.mark.usefixtures("fresh_accelerate_state")


def double(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, tree)


def both(*, conditional: bool, n_dis: int, learning_rates: tuple[float, float] = (2e-4, 2e-4)) -> tuple[Adversarial, PlainTraining]:
    """Return both formulations with equal weights, and power iterations that have converged to float64."""
    config = sngan(8, 8, batch_size=4, n_dis=n_dis, conditional=conditional, precision="fp32")
    accelerator = build_accelerator(config)
    parts = check(config, accelerator, None)
    for network in (parts.generator, parts.discriminator):
        network.double()
    power_iterations = PowerIterations(parts.discriminator)
    for _ in range(3000):
        power_iterations.advance()
    task = noise_task(config, parts, accelerator)
    plain = PlainTraining((8, 8), parts.num_classes, learning_rates)
    plain.begin(task.players["generator"].network, task.players["discriminator"].network)
    task.begin(accelerator)
    for player, rate in zip(task.players.values(), learning_rates, strict=True):
        player.learning_rate = rate
    return task, plain


def iterate(task: Adversarial, plain: PlainTraining, count: int) -> None:
    """Run ``count`` iterations of both on the same images, latent vectors and labels."""
    for _ in range(count):
        task.set_schedules(1.0)
        variant, inputs = task.prepare()
        inputs: Inputs = double(inputs)
        task.iterate(variant, inputs)
        task.advance()
        plain.iterate(
            [PlainBatch(step.z, step.fake_labels, step.reals, step.real_labels) for step in inputs.discriminator],
            PlainBatch(inputs.generator.z, inputs.generator.fake_labels),
            decay=1 - float(inputs.schedules.average),
        )


def assert_same(ours: nn.Module, theirs: nn.Module, tolerance: float) -> None:
    plain = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        if ".parametrizations.weight.0." not in name:
            torch.testing.assert_close(
                tensor, plain[name.replace("parametrizations.weight.original", "weight_orig")], rtol=tolerance, atol=tolerance, msg=name
            )


def moved(before: dict[str, Tensor], network: nn.Module) -> float:
    return max(float((tensor - before[name]).abs().max()) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("conditional", [False, True])
def test_a_discriminator_step_is_the_same(conditional: bool) -> None:
    task, plain = both(conditional=conditional, n_dis=1)
    discriminator = task.players["discriminator"].network
    before = {name: tensor.clone() for name, tensor in discriminator.state_dict().items()}
    iterate(task, plain, 1)
    assert moved(before, discriminator) > 1e-4
    assert_same(discriminator, plain.discriminator, 1e-9)


@pytest.mark.parametrize("conditional", [False, True])
def test_generator_steps_and_their_average_are_the_same(conditional: bool) -> None:
    # the discriminator does not move, so that its power iterations stay converged
    task, plain = both(conditional=conditional, n_dis=2, learning_rates=(2e-4, 0.0))
    generator = task.players["generator"]
    before = {name: tensor.clone() for name, tensor in generator.network.state_dict().items()}
    iterate(task, plain, 3)
    assert moved(before, generator.network) > 5e-4
    assert_same(generator.network, plain.generator, 1e-8)
    assert generator.average is not None
    assert_same(generator.average.network, plain.average, 1e-8)


def test_all_steps_are_the_same_while_weights_hardly_move() -> None:
    # the formulations advance the power iterations at different places; these follow weights that move by 1e-6 a step
    task, plain = both(conditional=False, n_dis=2, learning_rates=(1e-6, 1e-6))
    pairs = [(task.players["discriminator"].network, plain.discriminator), (task.players["generator"].network, plain.generator)]
    before = [vector(ours) for ours, _ in pairs]
    iterate(task, plain, 4)
    for (ours, theirs), start in zip(pairs, before, strict=True):
        step, plain_step = vector(ours) - start, vector(theirs) - start
        assert step.abs().max() > 3e-6
        assert (step - plain_step).norm() < 1e-3 * step.norm()


def vector(network: nn.Module) -> Tensor:
    """Return all parameters by name, those under spectral normalisation by the name of their layer."""
    named = {
        name.replace("parametrizations.weight.original", "weight").replace("weight_orig", "weight"): parameter
        for name, parameter in network.named_parameters()
    }
    return torch.cat([named[name].detach().flatten().clone() for name in sorted(named)])


def test_ratios_are_taken_pair_by_pair(capsys: pytest.CaptureFixture[str]) -> None:
    ratios = plain_pairs(generator_width=8, discriminator_width=8, batch_size=4, n_dis=2, conditional=True, pairs=3)
    assert len(ratios) == 3
    assert min(min(pair) for pair in ratios) > 0
    main(["--generator-width", "8", "--discriminator-width", "8", "--batch-size", "4", "--pairs", "1"])
    assert "1 pairs" in capsys.readouterr().out
