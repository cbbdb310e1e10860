"""The curvature of a run's loss at one of its checkpoints, and the learning rates that it allows."""

import json
import math
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gconv_gan.commands.train.trained.trained_task import TrainedTask, trained_task
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint, JsonFile, RunFolder
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command
from gconv_gan.gallery.pictures.curves.history import MAX_POINTS
from gconv_gan.gallery.pictures.curves.spectral_density import density_drawing
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.methods.curvature import Measured, rates_of
from gconv_gan.methods.method import PlayerName
from gconv_gan.optim.batch_spectrum import (
    batch_extreme,
    batch_extreme_gauss_newton,
    cauchy_step,
    critical_batch,
    effective_batch,
    fitted_outlier,
    largest_learning_rate,
    noise_of_products,
    scaled_damping,
    scaled_learning_rate,
)
from gconv_gan.optim.lanczos import (
    Product,
    Ritz,
    flat_gradient,
    gauss_newton_product,
    hessian_product,
    hutchinson_trace,
    lanczos,
    mean_product,
    spectral_density,
)
from gconv_gan.runtime.files.atomic import require_possible_folder, write_bytes, write_text
from gconv_gan.runtime.modes import evaluating
from gconv_gan.runtime.random import Stream

NEGLIGIBLE = 1e-3
"""Eigenvalues below this multiple of the largest magnitude count neither as positive nor as negative."""
GROWTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
WIDTH = 0.01
"""Standard deviation of the Gaussians of the density, as a share of its range."""
Matrix = Literal["hessian", "gauss_newton"]


class CurvatureCommand(Config):
    """Measure the curvature of a run's loss: spectrum, noise, and the learning rates that they allow."""

    run: RunFolder
    checkpoint: Checkpoint = None
    player: PlayerName | None = None
    """Network whose loss is differentiated; None: the discriminator of a GAN, or the classifier."""
    matrix: Matrix = "hessian"
    """hessian, or gauss_newton: the generalised Gauss–Newton matrix, without the curvature of the network itself."""
    mode: Literal["train", "eval"] = "train"
    """Mode of BatchNorm and dropout: train, as the steps of the run, or eval."""
    batches: Annotated[int, Field(ge=2)] = 8
    """Training batches, of the run's size, that are measured."""
    steps: PositiveInt = 30
    """Steps of Lanczos's iteration on each."""
    probes: PositiveInt = 4
    """Random vectors for trace and noise, each multiplied by the matrix of every batch."""
    damping_exponent: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Exponent e of the batch in damping ∝ learning rate / batch^e of adaptive methods."""
    seed: NonNegativeInt = 0
    """Seed of all random vectors."""
    data_path: str | None = None
    """Path of the training data; None: that of the run's config."""
    cache_dir: str | None = None
    """Folder of converted data; None: that of the run's config."""
    json_out: JsonFile = None
    """Also write the numbers to this file; they are always kept as curvature/PLAYER/report.json in the run folder."""


class Rate(Config):
    """Learning rates and factors by the formulas for one batch size."""

    batch: float
    theorem: float
    """Limit of SGD by Theorem 4 and the noise pσ²."""
    fitted: float
    """Limit of SGD by the first line of Theorem 4, with λ₁ and 𝔟* fitted to the measured eigenvalues."""
    linear: float
    """SGD's limit at the run's batch, scaled linearly, at most 2/λ₁."""
    sqrt: float
    """The factor on an adaptive method's learning rate."""
    damping: float
    """The factor on its damping."""


class CurvatureCard(Config):
    """Result and settings of one measurement."""

    format: int = 1
    run: str
    checkpoint: str
    player: str
    matrix: Matrix
    mode: str
    parameters: int
    batch: int
    batches: int
    steps: int
    probes: int
    seed: int
    images: int | None
    """Number N of different training images; None: infinite."""
    largest: tuple[float, ...]
    """Largest eigenvalue of each batch."""
    smallest: tuple[float, ...]
    largest_residual: float
    """Largest residual of Lanczos over the batches: an eigenvalue lies within it of each of ``largest``."""
    largest_of_all: float
    """Largest eigenvalue of the mean of all batches' matrices."""
    smallest_of_all: float
    negative_share: float
    trace: float
    trace_error: float
    """Standard error of the trace."""
    noise: float
    """pσ²."""
    predicted_largest: float
    """Largest eigenvalue of a batch by Theorem 4 or 7, from ``largest_of_all`` and the noise."""
    critical_batch: float
    """𝔟* by pσ²."""
    fitted_eigenvalue: float
    """λ₁ of all images, extrapolated from batches and all of them together."""
    fitted_critical_batch: float
    """𝔟* likewise."""
    cauchy_step: float
    """Mean of the Cauchy step over batches."""
    sgd_limit: float | None
    """2 over the mean largest eigenvalue of a batch; None: there is no positive curvature."""
    polyak: tuple[float, float] | None
    """Learning rate and momentum that the method "curvature" would set."""
    rates: tuple[Rate, ...]

    def lines(self) -> list[str]:
        """Return the card as lines of text."""
        name = "Hessian" if self.matrix == "hessian" else "generalised Gauss–Newton matrix"
        about = "images or latents without end" if self.images is None else f"{self.images:,} images"
        theorem = f"by Theorem {4 if self.matrix == 'hessian' else 7}, for noise without structure"
        lines = [
            f"{self.checkpoint}: {self.player}, {self.parameters:,} parameters; {name} of the training loss without penalty",
            f"{self.batches} batches of {self.batch} from {about}; BatchNorm and dropout in {self.mode} mode; float32",
            f"  λ_max of a batch              {_spread(self.largest)}  (± deviation over batches)",
            f"  λ_min of a batch              {_spread(self.smallest)}",
            f"  λ_max, λ_min of all batches   {self.largest_of_all:.4g}, {self.smallest_of_all:.4g}",
            f"  residual of Lanczos           {self.largest_residual:.2g}  (an eigenvalue lies within it of each λ_max)",
            f"  share of negative eigenvalues {self.negative_share:.4f}  (below -{NEGLIGIBLE:g} of the largest magnitude)",
            f"  trace                         {self.trace:.4g} ± {self.trace_error:.2g}",
            f"  noise pσ²                     {self.noise:.4g}",
            f"  λ_max of a batch, predicted   {self.predicted_largest:.4g}  ({theorem})",
            f"  Cauchy step                   {self.cauchy_step:.4g}",
        ]
        if self.polyak is not None:
            lines.append(
                f'  the method "curvature"        learning rate {self.polyak[0]:.4g}, momentum {self.polyak[1]:.4g}  (rule polyak)'
            )
        if self.sgd_limit is None:
            return [*lines, "no direction curves upwards: the curvature sets no limit to the learning rate"]
        lines.append(f"suggested for SGD without momentum at batch {self.batch}: learning rate below {self.sgd_limit:.4g}")
        if self.player != "classifier":
            lines.append("  an upper bound: the other network is held fixed, and the game has directions beyond this loss")
        lines += [
            f"with the batch size: λ₁ = {self.fitted_eigenvalue:.4g} and 𝔟* = {self.fitted_critical_batch:.3g}, fitted to the λ_max "
            f"measured (𝔟* = {self.critical_batch:.3g} by pσ²)",
            "rules start at this batch and end at 𝔟*, SGD's also at 2/λ₁",
            f"  {'batch':>8} {'SGD, Theorem 4':>14} {'SGD, fitted':>12} {'SGD, linear':>12} {'adaptive, ×√':>13} {'damping, ×':>11}",
        ]
        for one in self.rates:
            sgd = f"{one.theorem:14.4g} {one.fitted:12.4g} {one.linear:12.4g}"
            lines.append(f"  {one.batch:8g} {sgd} {one.sqrt:13.3f} {one.damping:11.3f}")
        return lines


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4g} ± {np.std(values, ddof=1):.2g}"


@dataclass(frozen=True)
class Batches:
    """The matrices of a player's loss on the training batches of a run."""

    trained: TrainedTask
    player: PlayerName
    matrix: Matrix
    evaluating: bool

    @property
    def network(self) -> nn.Module:
        """Return the network whose parameters the loss is differentiated by."""
        return self.trained.task.players[self.player].network

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters."""
        return [parameter for _, parameter in self.trained.task.players[self.player].parameters]

    def at(self, number: int) -> tuple[Product, Tensor]:
        """Return the product of the matrix of one batch, and the gradient; each call builds a new graph."""
        outputs: list[Tensor] = []

        def recorded(*inputs: Any) -> Tensor:
            output: Tensor = self.network(*inputs)
            outputs.append(output)
            return output

        with ExitStack() as modes:
            for player in self.trained.task.players.values() if self.evaluating else ():
                modes.enter_context(evaluating(player.network))
            loss = self.trained.task.losses(self.player, (2 * number, 2 * number + 1), recorded)
        gradient = flat_gradient(loss, self.parameters)
        if self.matrix == "gauss_newton":
            return gauss_newton_product(loss, outputs, self.parameters), gradient
        return hessian_product(loss, self.parameters), gradient


def main(arguments: Sequence[str]) -> None:
    """Measure the run that the command line names; print the card, and write numbers and density to the run folder."""
    command = parse_command(CurvatureCommand, arguments)
    if command.json_out is not None:
        require_possible_folder(Path(command.json_out).parent, "--json")
    trained = trained_task(Path(command.run), checkpoint=command.checkpoint, data_path=command.data_path, cache_dir=command.cache_dir)
    player = command.player or ("classifier" if "classifier" in trained.task.players else "discriminator")
    if player not in trained.task.players:
        raise UserError(f"--player {player}: {command.run} has {' and '.join(trained.task.players)}")
    card, spectra = measure(Batches(trained, player, command.matrix, command.mode == "eval"), command)
    print("\n".join(card.lines()))
    drawing, folder = picture(card, spectra), Path(command.run) / "curvature" / player
    words = {"title": drawing.title, "caption": drawing.caption, "alt": drawing.alt}
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / drawing.file, drawing.content)
    write_text(folder / "report.json", json.dumps({**card.model_dump(), "pictures": {drawing.file: words}}, indent=2) + "\n")
    print(f"density: {folder / drawing.file}")
    if player != "classifier":
        print(f"next: gconv-gan gallery {shlex.quote(command.run)}   # shows it, with the values below the pointer")
    if command.json_out is not None:
        write_text(Path(command.json_out), card.model_dump_json(indent=2) + "\n")


def measure(batches: Batches, command: CurvatureCommand) -> tuple[CurvatureCard, list[Ritz]]:
    """Return the card, and the Ritz values of each batch.

    Raises:
        UserError: the loss has no curvature of this kind, or values are not finite.

    """
    count, device = sum(parameter.numel() for parameter in batches.parameters), batches.parameters[0].device
    starts, signs = Stream(command.seed, "curvature/start"), Stream(command.seed, "curvature/signs")

    def vector(number: int) -> Tensor:
        return starts.normal(number, torch.zeros(1, dtype=torch.int64, device=device), count)[0]

    probes = [vector(command.batches + 1 + probe) for probe in range(command.probes)]
    spectra, found, traces, products = [], [], [], []
    try:
        for number in range(command.batches):
            product, gradient = batches.at(number)
            ritz = lanczos(product, vector(number), command.steps)
            spectra.append(ritz)
            found.append(Measured(np.abs(ritz.values), ritz.weights, cauchy_step(gradient, product(gradient))))
            rows = signs.coins(number, torch.arange(command.probes, device=device), count).to(gradient.dtype) * 2 - 1
            traces.append(hutchinson_trace(product, rows)[0])
            products.append([product(probe / probe.norm()) for probe in probes])
        whole = lanczos(
            mean_product([_fresh(batches, number) for number in range(command.batches)]), vector(command.batches), command.steps
        )
    except ArithmeticError as error:
        raise UserError(f"{batches.trained.checkpoint}: the curvature of the {batches.player} is not finite") from error
    if not any(one.magnitudes.any() for one in found):
        raise UserError(
            f"the loss of the {batches.player} is linear in pieces in the network's outputs (as hinge is), so its Gauss–Newton matrix "
            "is zero: take --matrix hessian"
        )
    return _card(batches, command, count, spectra, found, traces, products, whole), spectra


def _fresh(batches: Batches, number: int) -> Product:
    """Return a product that keeps no graph between its calls: those of all batches at once may not fit into memory."""
    return lambda vector: batches.at(number)[0](vector)


def _card(
    batches: Batches,
    command: CurvatureCommand,
    count: int,
    spectra: Sequence[Ritz],
    found: Sequence[Measured],
    traces: Sequence[float],
    products: Sequence[Sequence[Tensor]],
    whole: Ritz,
) -> CurvatureCard:
    batch, images = batches.trained.config.trainer.batch_size, batches.trained.images
    effective = effective_batch(float(batch), None if images is None else float(images))
    if math.isinf(effective):
        raise UserError(f"a batch of {batch} holds all {images} images, so batches have no noise: measure a run with smaller ones")
    noise = float(np.mean([noise_of_products([one[probe] for one in products], effective) for probe in range(command.probes)]))
    largest, smallest = (tuple(float(ritz.values[end]) for ritz in spectra) for end in (-1, 0))
    threshold = NEGLIGIBLE * max(float(one.magnitudes.max()) for one in found)
    top, mean = float(whole.values[-1]), float(np.mean(largest))
    polyak, limit = rates_of(found, "polyak"), 2 / mean if mean > 0 else None
    if command.matrix == "hessian":
        predicted = batch_extreme(top, noise, effective)
    else:
        predicted = batch_extreme_gauss_newton(top, math.sqrt(noise / count), count / effective)
    together = effective_batch(float(batch * command.batches), None if images is None else float(images))
    fitted = fitted_outlier((effective, mean), (together, top)) if top > 0 else (top, 0.0)
    cauchy = [one.cauchy for one in found if math.isfinite(one.cauchy)]
    return CurvatureCard(
        run=batches.trained.config.name,
        checkpoint=str(batches.trained.checkpoint),
        player=batches.player,
        matrix=command.matrix,
        mode=command.mode,
        parameters=count,
        batch=batch,
        batches=command.batches,
        steps=command.steps,
        probes=command.probes,
        seed=command.seed,
        images=images,
        largest=largest,
        smallest=smallest,
        largest_residual=max(float(ritz.residuals[-1]) for ritz in spectra),
        largest_of_all=top,
        smallest_of_all=float(whole.values[0]),
        negative_share=float(np.mean([ritz.weights[ritz.values < -threshold].sum() for ritz in spectra])),
        trace=float(np.mean(traces)),
        trace_error=float(np.std(traces, ddof=1)) / math.sqrt(len(traces)),
        noise=noise,
        predicted_largest=predicted,
        critical_batch=critical_batch(top, noise),
        fitted_eigenvalue=fitted[0],
        fitted_critical_batch=fitted[1],
        cauchy_step=float(np.mean(cauchy)) if cauchy else 0.0,
        sgd_limit=limit,
        polyak=None if polyak is None else (polyak.learning_rate, polyak.momentum),
        rates=() if limit is None or top <= 0 else _rates(batch, images, limit, (top, noise), fitted, command.damping_exponent),
    )


def _rates(
    batch: int, images: int | None, limit: float, measured: tuple[float, float], fitted: tuple[float, float], exponent: float
) -> tuple[Rate, ...]:
    """Return the rates for other batch sizes, as long as they are smaller than the set."""
    total = None if images is None else float(images)
    old = effective_batch(float(batch), total)
    found = []
    for growth in GROWTHS:
        size = batch * growth
        if size < 1 or (total is not None and size >= total):
            continue
        new = effective_batch(size, total)
        scaled = partial(scaled_learning_rate, old=old, new=new, critical=max(fitted[1], 1.0))
        adaptive = scaled(1.0, rule="sqrt")
        found.append(
            Rate(
                batch=size,
                theorem=largest_learning_rate(*measured, size, total),
                fitted=2 / fitted[0] / (1 + fitted[1] / new),
                linear=scaled(limit, rule="linear", largest=2 / fitted[0]),
                sqrt=adaptive,
                damping=scaled_damping(1.0, rate_growth=adaptive, batch_growth=new / old, exponent=exponent),
            )
        )
    return tuple(found)


def picture(card: CurvatureCard, spectra: Sequence[Ritz]) -> Drawing:
    """Return the density of the batches' eigenvalues."""
    low, high = min(card.smallest), max(card.largest)
    margin = 0.05 * (high - low)
    grid = np.linspace(low - margin, high + margin, MAX_POINTS)
    density = spectral_density(spectra, grid, width=WIDTH * (high - low))
    name = "Hessian" if card.matrix == "hessian" else "generalised Gauss–Newton matrix"
    return density_drawing(
        grid,
        density,
        title=f"Eigenvalues of the {card.player}'s loss",
        caption=f"{name} on {card.batches} batches of {card.batch} at {Path(card.checkpoint).name}, in {card.mode} mode. On all of them "
        f"together the smallest eigenvalue is {card.smallest_of_all:.3g} and the largest {card.largest_of_all:.3g}.",
    )
