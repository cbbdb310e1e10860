"""Random numbers, augmentations and regularisers of a step: no host read, and one sequence of operations at any time of the run."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from gconv_gan.training.gan_step import DiscriminatorInputs, GeneratorInputs, d_step, g_step
from torch import nn

from gconv_gan.config.load import validated
from gconv_gan.config.runs import GANRunConfig
from gconv_gan.data.transforms import flip
from gconv_gan.layers.dropout import Dropout, seed_dropout
from gconv_gan.losses.classification import mixed_cross_entropy
from gconv_gan.recipes.objective import build_objective
from gconv_gan.runtime.random import Stream
from gconv_gan.training.draws import Draws
from tests.reference.host_free import HostFree, HostReadError, host_free

B, CLASSES, SIZE = 8, 3, 8

OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "diff_augment": {"augment": {"kind": "diff_augment"}},
    "ada": {"augment": {"kind": "ada", "every": 2, "cutout": 1.0, "initial_probability": 0.3}},
    "scheduled": {"augment": {"kind": "scheduled", "probability": 0.5, "rise_images": 1000}},
    "consistency": {"objective": {"consistency": {"real_weight": 1.0, "fake_weight": 1.0}}},
    "lecam": {"objective": {"lecam": {"weight": 0.3, "start_images": 500}}},
    "top_k": {"objective": {"top_k": {"final_fraction": 0.5, "decay": 0.9, "decay_images": 100}}},
    "wgan_gp": {"objective": {"penalty": {"kind": "wgan_gp"}}},
    "dragan": {"objective": {"penalty": {"kind": "dragan"}}},
}


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.embedding = nn.Linear(5, 3 * SIZE**2), nn.Embedding(CLASSES, 3 * SIZE**2)

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (self.linear(z) + self.embedding(y)).tanh().view(-1, 3, SIZE, SIZE)


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear, self.embedding = nn.Conv2d(3, 4, 3), nn.Linear(4, 1), nn.Embedding(CLASSES, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        h = self.conv(x).tanh().mean((2, 3))
        return self.linear(h)[:, 0] + (h * self.embedding(y)).sum(1)


def iterations(option: str) -> Iterator[HostFree]:
    """Yield what was dispatched by each of two iterations, 2,000 images apart, after one that makes the constants of the device."""
    config = validated(
        GANRunConfig,
        {
            "name": "x",
            "conditional": True,
            "data": {"kind": "digits", "split": "train"},
            "generator": {"kind": "dcgan", "width": 8, "latent_dim": 5},
            "discriminator": {"kind": "dcgan", "width": 8, "norm": {"kind": "none"}},
            "trainer": {"total_images": 10_000, "batch_size": B},
            **OPTIONS[option],
        },
        "x",
    )
    torch.manual_seed(0)
    generator, discriminator = Generator(), Discriminator()
    accelerator = Accelerator(cpu=True)
    objective = build_objective(config, discriminator, CLASSES).to(accelerator.device)
    draws = Draws(0, B, 5, CLASSES, 0, 1, torch.device("cpu"))
    reals, real_labels = torch.rand(B, 3, SIZE, SIZE) * 2 - 1, torch.arange(B) % CLASSES
    step = torch.zeros((), dtype=torch.int64)
    augment = 0 if objective.augment is None else objective.augment.numbers_per_image
    twins = 0 if objective.consistency is None else 3
    noise = 0 if objective.penalty is None else objective.penalty.numbers_per_image(3 * SIZE**2)
    for warm, images_seen in ((False, 0), (True, 0), (True, 2000)):
        objective.begin(images_seen)
        with host_free() if warm else nullcontext(HostFree()) as mode:
            z, labels, uniform = draws("d", step, [augment, augment, twins, twins, noise])
            d_inputs = DiscriminatorInputs(reals, real_labels, z, labels, *uniform, reals.std())
            backward = torch.autograd.backward
            statistics = d_step(generator, discriminator, objective, d_inputs, penalty_factor=1.0, backward=backward)
            objective.observe(statistics, batch_size=B, accelerator=accelerator)
            z, labels, (fake_draws,) = draws("g", step, [augment])
            g_inputs = GeneratorInputs(z, labels, fake_draws)
            g_step(generator, discriminator, objective, g_inputs, weights=objective.weights(accelerator), backward=backward)
            step.add_(1)
            for network in (generator, discriminator):
                network.zero_grad()
        if warm:
            yield mode


@pytest.mark.parametrize("option", OPTIONS)
def test_a_step_reads_nothing_and_is_one_sequence_of_operations(option: str) -> None:
    first, later = iterations(option)
    assert len(first.calls) > 100
    assert first.calls == later.calls


def test_classifiers_parts_read_nothing() -> None:
    layer, indices, step = Dropout(0.3), torch.arange(B), torch.ones((), dtype=torch.int64)
    position = seed_dropout(layer, 0, device=torch.device("cpu"))
    position.step, position.indices = step, indices
    x = torch.rand(B, 3, 8, 8, requires_grad=True)
    with host_free():
        y = flip(layer(x), Stream(0, "flip").coins(step, indices))
        logits = y.flatten(1)[:, :CLASSES]
        mixed_cross_entropy(logits, indices % CLASSES, indices.flip(0) % CLASSES, weight=torch.full((), 0.3)).backward()


@pytest.mark.parametrize(
    "offence",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.tolist(),
        lambda x: x + torch.tensor(1.0),
        lambda x: torch.rand_like(x).bernoulli_(),
        lambda x: torch.linalg.inv(x),
    ],
)
def test_the_mode_sees_offences(offence: Any) -> None:
    x = torch.eye(3)
    with pytest.raises(HostReadError), host_free():
        offence(x)
