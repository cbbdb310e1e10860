r"""The plain formulation of SNGAN's training at 32 px, and its time relative to the iteration of this package.

It is the same mathematics, written with the parts of ``torch.nn`` as GAN training code usually does: upsampling and pooling are operations
beside their convolutions, generated images and real images pass through the discriminator one after the other, each layer has its own
power iteration in every pass (``torch.nn.utils.spectral_norm``), Adam and the average treat one tensor after another, losses are read with
``.item()`` after every step, and the generator's step also computes the discriminator's gradients, which are dropped.
``tests/commands/cost/test_plain_formulation.py`` shows in float64 that both compute the same weights.
"""

import copy
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.dry_run.step_time import noise_task
from gconv_gan.commands.train.gan import measured
from gconv_gan.commands.train.gan_checks import check
from gconv_gan.config.base import Config, EngineName, PrecisionName
from gconv_gan.config.load import parse_command, validated
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.metrics.cost import busy_seconds
from gconv_gan.optim.ema import decay
from gconv_gan.training.engine import build_engine

LATENT_DIM, BLOCKS = 128, 3


class PlainConditionalBatchNorm2d(nn.Module):
    """BatchNorm with one scale and shift per class; without classes ``nn.BatchNorm2d`` takes its place."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(classes, channels)
        self.shift = nn.Embedding(classes, channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the normalised maps, scaled and shifted by class."""
        result: Tensor = self.scale(y)[:, :, None, None] * self.norm(x) + self.shift(y)[:, :, None, None]
        return result


class PlainGeneratorBlock(nn.Module):
    """Norm, ReLU, ``nn.Upsample``, convolution, norm, ReLU, convolution; the shortcut upsamples and then convolves."""

    def __init__(self, channels: int, classes: int | None) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels) if classes is None else PlainConditionalBatchNorm2d(channels, classes)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels) if classes is None else PlainConditionalBatchNorm2d(channels, classes)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, channels, 1)
        self.upsample = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return maps of twice the side."""
        labels = () if y is None else (y,)
        h = self.conv1(self.upsample(F.relu(self.norm1(x, *labels))))
        h = self.conv2(F.relu(self.norm2(h, *labels)))
        result: Tensor = h + self.shortcut(self.upsample(x))
        return result


class PlainGenerator(nn.Module):
    """SNGAN's generator at 32 px; parameter names of ``ResNetGenerator``."""

    def __init__(self, width: int, classes: int | None) -> None:
        super().__init__()
        self.linear = nn.Linear(LATENT_DIM, width * 4 * 4)
        self.blocks = nn.ModuleList(PlainGeneratorBlock(width, classes) for _ in range(BLOCKS))
        self.last_norm = nn.BatchNorm2d(width)
        self.to_rgb = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Return images in [-1, 1] of latents and, with classes, labels."""
        h = self.linear(z).view(len(z), -1, 4, 4)
        for block in self.blocks:
            h = block(h, y)
        return torch.tanh(self.to_rgb(F.relu(self.last_norm(h))))


class PlainDiscriminatorBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution, pooling; the first block has no first ReLU and its shortcut pools before it convolves."""

    def __init__(self, in_channels: int, out_channels: int, *, down: bool, first: bool = False) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = spectral_norm(nn.Conv2d(in_channels, out_channels, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(in_channels, out_channels, 1)) if down else None

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of half the side, or of the same one in the last blocks."""
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.shortcut is None:
            return x + h  # type: ignore[no-any-return]
        if self.first:
            return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))  # type: ignore[no-any-return]
        return F.avg_pool2d(h, 2) + F.avg_pool2d(self.shortcut(x), 2)


class PlainDiscriminator(nn.Module):
    """SNGAN's discriminator at 32 px, with classes the projection discriminator; parameter names of ``ResNetDiscriminator``."""

    def __init__(self, width: int, classes: int | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            PlainDiscriminatorBlock(3, width, down=True, first=True),
            PlainDiscriminatorBlock(width, width, down=True),
            PlainDiscriminatorBlock(width, width, down=False),
            PlainDiscriminatorBlock(width, width, down=False),
        )
        self.linear = spectral_norm(nn.Linear(width, 1))
        self.embedding = None if classes is None else spectral_norm(nn.Embedding(classes, width))

    def forward(self, images: Tensor, y: Tensor | None) -> Tensor:
        """Return a logit [B, 1] for every image."""
        h = F.relu(self.blocks(images)).sum((2, 3))
        logits: Tensor = self.linear(h)
        if self.embedding is not None:
            logits = logits + (self.embedding(y) * h).sum(1, keepdim=True)
        return logits.squeeze(1)


class PlainBatch(NamedTuple):
    """The inputs of a step; labels are None in an unconditional run, reals and their labels in the generator's step."""

    z: Tensor
    fake_labels: Tensor | None
    reals: Tensor | None = None
    real_labels: Tensor | None = None


class PlainTraining:
    """Networks, their optimisers and the average of the generator.

    Args:
        width: channels of the generator and of the discriminator.
        classes: of a class-conditional run; None: unconditional.
        learning_rates: of the generator and of the discriminator, by Adam with betas 0 and 0.9.

    """

    def __init__(self, width: tuple[int, int], classes: int | None, learning_rates: tuple[float, float]) -> None:
        self.generator = PlainGenerator(width[0], classes)
        self.discriminator = PlainDiscriminator(width[1], classes)
        self.learning_rates = learning_rates

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Start from the weights, type and device of this package's networks, with new optimisers."""
        example = next(generator.parameters())
        self.generator.to(example).load_state_dict(generator.state_dict())
        self.discriminator.to(example).load_state_dict({_plain(name): tensor for name, tensor in discriminator.state_dict().items()})
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=rate, betas=(0.0, 0.9))
            for network, rate in zip((self.generator, self.discriminator), self.learning_rates, strict=True)
        ]

    def iterate(self, batches: Sequence[PlainBatch], generator_batch: PlainBatch, *, decay: float) -> dict[str, float]:
        """Run a discriminator step on each of ``batches``, a generator step, and the average; return the losses that a log would show."""
        optimizer_g, optimizer_d = self.optimizers
        log: dict[str, float] = {}
        for batch in batches:
            optimizer_d.zero_grad()
            real = self.discriminator(batch.reals, batch.real_labels)
            with torch.no_grad():
                images = self.generator(batch.z, batch.fake_labels)
            fake = self.discriminator(images, batch.fake_labels)
            loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
            torch.autograd.backward(loss)
            optimizer_d.step()
            log |= {"loss_d": loss.item(), "d_real": real.mean().item(), "d_fake": fake.mean().item()}
        optimizer_g.zero_grad()
        images = self.generator(generator_batch.z, generator_batch.fake_labels)
        loss = -self.discriminator(images, generator_batch.fake_labels).mean()
        torch.autograd.backward(loss)
        optimizer_g.step()
        log["loss_g"] = loss.item()
        with torch.no_grad():
            current = self.generator.state_dict()
            for name, average in self.average.state_dict().items():
                if average.is_floating_point():
                    average.mul_(decay).add_(current[name], alpha=1 - decay)
                else:
                    average.copy_(current[name])
        return log


def _plain(name: str) -> str:
    """Return the name of a tensor in ``torch.nn.utils.spectral_norm`` for that in ``torch.nn.utils.parametrizations``."""
    return (
        name.replace("parametrizations.weight.original", "weight_orig")
        .replace("parametrizations.weight.0._u", "weight_u")
        .replace("parametrizations.weight.0._v", "weight_v")
    )


class PlainFormulationCommand(Config):
    """Measure how many times longer an iteration of the plain formulation takes."""

    generator_width: PositiveInt = 64
    """Channels of the generator."""
    discriminator_width: PositiveInt = 64
    """Channels of the discriminator."""
    batch_size: PositiveInt = 64
    """Images of a batch."""
    n_dis: PositiveInt = 1
    """Discriminator steps per generator step."""
    conditional: bool = False
    """Ten classes."""
    pairs: PositiveInt = 5
    """Pairs of iterations, one of each formulation."""
    engine: EngineName = "auto"
    """Engine of this package's iteration; the plain formulation is called operation by operation."""
    precision: PrecisionName = "fp32"
    """Precision of this package's iteration; of the plain formulation under fp32 and tf32."""


def main(arguments: Sequence[str]) -> None:
    """Print median and quartiles of the ratio."""
    command = parse_command(PlainFormulationCommand, arguments)
    ratios = [theirs / ours for theirs, ours in plain_pairs(**dict(command))]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    print(f"plain formulation / this package: {middle:.2f}, quartiles {low:.2f} and {high:.2f}, {len(ratios)} pairs")


def plain_pairs(
    *,
    generator_width: int = 64,
    discriminator_width: int = 64,
    batch_size: int = 64,
    n_dis: int = 1,
    conditional: bool = False,
    pairs: int = 5,
    engine: EngineName = "auto",
    precision: PrecisionName = "fp32",
) -> list[tuple[float, float]]:
    """Return the seconds of the plain formulation and of this package's iteration, for each of ``pairs`` neighbouring iterations.

    Both start from the same weights on the same noise images in place of real ones, draw their latent vectors within the time, and are
    called by turns in one process after a warm-up. On a CPU the time is this process's processor time; with one thread
    (OMP_NUM_THREADS=1) other load on the machine hardly affects it. Else it is the elapsed time until the device is done.

    Args:
        generator_width: channels of the generator (SNGAN: 256).
        discriminator_width: channels of the discriminator (SNGAN: 128).
        batch_size: images of a batch.
        n_dis: discriminator steps per generator step.
        conditional: with ten classes.
        pairs: how many pairs of iterations.
        engine: engine of this package's iteration.
        precision: precision of this package's iteration.

    """
    config = sngan(generator_width, discriminator_width, batch_size=batch_size, n_dis=n_dis, conditional=conditional, precision=precision)
    accelerator = build_accelerator(config)
    parts = check(config, accelerator, None)
    task = noise_task(config, parts, accelerator, measured(config, parts, accelerator))
    plain = PlainTraining(
        (generator_width, discriminator_width),
        parts.num_classes,
        (config.generator_optimizer.learning_rate, config.discriminator_optimizer.learning_rate),
    )
    plain.begin(task.players["generator"].network, task.players["discriminator"].network)
    task.begin(accelerator)
    run = build_engine(engine, task.iterate, state=task.tensors, device=accelerator.device, processes=1, say=print)
    reals, real_labels = task.data.batch(0)
    average = decay(config.ema.half_life_images, batch_size * n_dis, images_seen=0, ramp=None)

    def latents() -> tuple[Tensor, Tensor | None]:
        z = torch.randn(batch_size, LATENT_DIM, device=accelerator.device)
        if parts.num_classes is None:
            return z, None
        return z, torch.randint(parts.num_classes, (batch_size,), device=accelerator.device)

    def ours() -> None:
        task.set_schedules(1.0)
        run.run(*task.prepare())
        task.advance()

    def theirs() -> None:
        batches = [PlainBatch(*latents(), reals, real_labels) for _ in range(n_dis)]
        plain.iterate(batches, PlainBatch(*latents()), decay=average)

    for iteration in (ours, theirs) * 2:
        iteration()
    return [(busy_seconds(theirs, accelerator.device), busy_seconds(ours, accelerator.device)) for _ in range(pairs)]


def sngan(
    generator_width: int, discriminator_width: int, *, batch_size: int, n_dis: int, conditional: bool, precision: PrecisionName
) -> GANRunConfig:
    """Return the run that the plain formulation writes out: SNGAN at 32 px, hinge loss, spectral norm in the discriminator, Adam."""
    described = {
        "name": "plain_formulation",
        "conditional": conditional,
        "data": {"kind": "cifar10"},
        "generator": {"width": generator_width, "latent_dim": LATENT_DIM},
        "discriminator": {"width": discriminator_width, "norm": {"kind": "spectral"}},
        "trainer": {"total_images": 1, "batch_size": batch_size, "n_dis": n_dis, "precision": precision},
    }
    return validated(GANRunConfig, described, "plain formulation")
