"""Small experiments on curvature, batch size and learning rates, each with the outcome that is expected of it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from pydantic import Field
from torch.nn import functional as F

from gconv_gan.config.base import Config
from gconv_gan.config.commands import JsonFile
from gconv_gan.config.errors import UserError, reworded
from gconv_gan.config.load import parse_command
from gconv_gan.config.sections.data import DataConfig, DigitsDataConfig, FashionMNISTDataConfig, as_flags
from gconv_gan.data.cache import open_dataset
from gconv_gan.experiments.curvature.batches import (
    BROADENING_SIZES,
    GROWING,
    RATE_SIZES,
    Broadening,
    Growth,
    Images,
    OptimizerName,
    broadening,
    growth,
    largest_rate,
)
from gconv_gan.experiments.curvature.learner import Outcome, Problem, compare
from gconv_gan.experiments.curvature.synthetic import Case, synthetic_spectra
from gconv_gan.experiments.paired import paired_test
from gconv_gan.gallery.pictures.curves.batch_curves import batch_curves
from gconv_gan.methods.curvature import Rule
from gconv_gan.runtime.files.atomic import require_possible_folder, write_bytes, write_text

IMAGES = 2048
"""Number of images of one seed; seeds have different images."""
RULES: tuple[Rule, ...] = ("polyak", "nesterov", "ssgd", "cauchy")


class CurvatureClaimsCommand(Config):
    """Run a small experiment on curvature and learning rates."""

    experiment: Annotated[
        Literal["synthetic", "broadening", "rates", "learner"],
        tyro.conf.Positional,
        tyro.conf.arg(
            help="synthetic: extreme eigenvalues of random matrices beside the theorems; broadening: the largest eigenvalue by batch size; "
            "rates: the largest learning rate by batch size, SGD and Adam; learner: iterations under the rates that the curvature sets."
        ),
    ]
    seeds: Annotated[int, Field(ge=2, le=20)] = 5
    """Number of seeds, each with its own draws, images or problem instance."""
    first_seed: Annotated[int, Field(ge=0)] = 0
    """The first of the seeds, which are consecutive."""
    data: Literal["fashion_mnist", "digits"] = "fashion_mnist"
    """Images of broadening and rates: Fashion-MNIST, averaged to 14×14, or the bundled digits of 8×8."""
    data_path: str = "data/fashion_mnist"
    """Folder of Fashion-MNIST's files; Debian's package is found without it."""
    cache_dir: str = "cache"
    """Folder of converted data."""
    json_out: JsonFile = None
    """Also write the numbers to this file."""
    picture: str | None = None
    """Also draw broadening or rates over the batch size, into this SVG file."""


class ClaimsResult(Config):
    """Result and settings."""

    experiment: str
    seeds: tuple[int, ...]
    data: str | None
    synthetic: tuple[Case, ...] = ()
    broadening: tuple[Broadening, ...] = ()
    rates: dict[OptimizerName, Growth] = {}
    learner: dict[Problem, tuple[Outcome, ...]] = {}


def main(arguments: Sequence[str]) -> None:
    """Run the experiment that the command line names, print its table, and write the requested files."""
    command = parse_command(CurvatureClaimsCommand, arguments)
    for flag, file in (("--json", command.json_out), ("--picture", command.picture)):
        if file is not None:
            require_possible_folder(Path(file).parent, flag)
    if command.picture is not None:
        if command.experiment not in ("broadening", "rates"):
            raise UserError(f"--picture is for broadening and rates: {command.experiment} has no curves over the batch size")
        if not command.picture.endswith(".svg"):
            raise UserError(f"--picture {command.picture}: the picture is an SVG: name a file that ends in .svg")
    experiment: Callable[[CurvatureClaimsCommand, tuple[int, ...]], tuple[ClaimsResult, list[str]]] = EXPERIMENTS[command.experiment]
    result, lines = experiment(command, tuple(range(command.first_seed, command.first_seed + command.seeds)))
    print("\n".join(lines))
    if command.json_out is not None:
        write_text(Path(command.json_out), result.model_dump_json(indent=2) + "\n")
    if command.picture is not None:
        write_bytes(Path(command.picture), picture(result))
        print(f"picture: {command.picture}")


def synthetic(command: CurvatureClaimsCommand, seeds: tuple[int, ...]) -> tuple[ClaimsResult, list[str]]:
    """Compare the theorems with random matrices; return the result and its table as lines."""
    cases = synthetic_spectra(seeds)
    lines = [f"{'noise':28} {'λ':>5} {'variance or q':>14} {'predicted':>10} {'measured':>17} {'error':>7}"]
    for case in cases:
        measured = with_deviation(case.measured, "8.3f")
        lines.append(
            f"{case.noise:28} {case.eigenvalue:5.2f} {case.spread:14.2f} {case.predicted:10.3f} {measured:>17} {100 * case.error:+6.1f}%"
        )
    worst = max(abs(case.error) for case in cases)
    lines.append(f"largest error of a mean over {len(seeds)} draws: {100 * worst:.1f} %; expected: at most 5 %: {holds(worst <= 0.05)}")
    return ClaimsResult(experiment="synthetic", seeds=seeds, data=None, synthetic=cases), lines


def broaden(command: CurvatureClaimsCommand, seeds: tuple[int, ...]) -> tuple[ClaimsResult, list[str]]:
    """Measure the largest eigenvalue of batches; return the result and its table as lines."""
    found = tuple(broadening(images, seed=seed) for seed, images in zip(seeds, images_of(command, seeds), strict=True))
    lines = [f"{'batch':>6} {'λ₁(batch) / λ₁(all), mean ± deviation over seeds':>50} {'Theorem 4':>12}"]
    for size in BROADENING_SIZES:
        ratios = [float(np.mean(one.by_size[size])) / one.whole for one in found]
        predicted = [one.predicted[size] / one.whole for one in found]
        lines.append(f"{size:6} {with_deviation(ratios, '.2f'):>50} {with_deviation(predicted, '.2f'):>12}")
    small, large = ([float(np.mean(one.by_size[size])) / one.whole for one in found] for size in (4, 256))
    whole, noise = with_deviation([one.whole for one in found], ".2f"), with_deviation([one.noise for one in found], ".3g")
    lines.append(f"λ₁ of all images: {whole}; pσ²: {noise}")
    near = all(abs(ratio - 1) <= 0.1 for ratio in large)
    lines.append(f"expected in every seed: 4: at least 1.5: {holds(min(small) >= 1.5)}; 256: within 10 %: {holds(near)}")
    return ClaimsResult(experiment="broadening", seeds=seeds, data=command.data, broadening=found), lines


def rates(command: CurvatureClaimsCommand, seeds: tuple[int, ...]) -> tuple[ClaimsResult, list[str]]:
    """Search the largest learning rate that trains, by batch size; return the result and its table as lines."""
    sets = images_of(command, seeds)
    found: dict[OptimizerName, Growth] = {}
    lines = [f"{'batch':>10} " + " ".join(f"{size:>8}" for size in RATE_SIZES)]
    optimizers: tuple[OptimizerName, ...] = ("sgd", "adam")
    for name in optimizers:
        found[name] = growth(
            {size: tuple(largest_rate(one, name, size, seed=seed) for seed, one in zip(seeds, sets, strict=True)) for size in RATE_SIZES}
        )
        medians = {size: float(np.median(trained(values))) for size, values in found[name].by_size.items()}
        lines.append(f"{name:>10} " + " ".join(f"{medians[size]:8.4f}" for size in RATE_SIZES))
        rising, flat = medians[64] / medians[4], medians[512] / medians[64]
        lines.append(f"  median over seeds; 64 over 4: {rising:.2f}, expected at least 3: {holds(rising >= 3)}")
        missing = {size: values.count(None) for size, values in found[name].by_size.items() if None in values}
        lines += [f"  batch {size}: no learning rate reached the loss in {count} of {len(seeds)} seeds" for size, count in missing.items()]
        lines.append(f"  512 over 64: {flat:.2f}, expected at most 1.5: {holds(flat <= 1.5)}")
        slope = f"{found[name].slope:.3f}, 95 % {interval(found[name].interval)}"
        lines.append(f"  slope d ln α / d ln B from {GROWING[0]} to {GROWING[1]}: {slope}")
    difference = paired_test([a - s for a, s in zip(found["adam"].slopes, found["sgd"].slopes, strict=True)])
    lines.append(f"slope of Adam minus slope of SGD: {difference.mean:+.3f}, 95 % {interval(difference.interval)}, p = {difference.p:.2f}")
    return ClaimsResult(experiment="rates", seeds=seeds, data=command.data, rates=found), lines


def learner(command: CurvatureClaimsCommand, seeds: tuple[int, ...]) -> tuple[ClaimsResult, list[str]]:
    """Count iterations under the learning rates from the curvature; return the result and its table as lines."""
    problems: tuple[Problem, ...] = ("quadratic", "logistic")
    found = {problem: tuple(compare(problem, seed=seed, rules=RULES) for seed in seeds) for problem in problems}
    lines = [f"{'problem':10} {'best of the grid':>24} " + " ".join(f"{rule:>24}" for rule in RULES)]
    for problem, outcomes in found.items():
        counts = [" ".join(str(one.best) for one in outcomes), *(" ".join(str(one.learned[rule]) for one in outcomes) for rule in RULES)]
        lines.append(f"{problem:10} " + " ".join(f"{count:>24}" for count in counts))
        ratios = [one.learned["polyak"] / one.best for one in outcomes]
        lines.append(
            f"  polyak over the best: {with_deviation(ratios, '.2f')}; expected in every seed: at most 1.2: {holds(max(ratios) <= 1.2)}"
        )
    return ClaimsResult(experiment="learner", seeds=seeds, data=None, learner=found), lines


EXPERIMENTS = {"synthetic": synthetic, "broadening": broaden, "rates": rates, "learner": learner}


def images_of(command: CurvatureClaimsCommand, seeds: Sequence[int]) -> list[Images]:
    """Return 2048 training images per seed, taken after the first 2048; of the digits, all images for every seed."""
    data: DataConfig
    if command.data == "digits":
        data = DigitsDataConfig(cache_dir=command.cache_dir, split="train")
    else:
        data = FashionMNISTDataConfig(cache_dir=command.cache_dir, size=28, path=command.data_path)
    with reworded(lambda sentence: as_flags({"path": "--data-path", "cache_dir": "--cache-dir"}, data.kind, sentence)):
        dataset = open_dataset(data)
    assert dataset.labels is not None
    found = []
    for seed in seeds:
        chosen = np.arange(len(dataset)) if command.data == "digits" else np.arange(IMAGES) + IMAGES * (1 + seed)
        pixels = torch.from_numpy(np.array(dataset.images[chosen])[:, :1]).float() / 255
        pixels = F.avg_pool2d(pixels, 2) if command.data == "fashion_mnist" else pixels
        found.append(Images(((pixels - 0.286) / 0.353).flatten(1), torch.from_numpy(dataset.labels[chosen])))
    return found


def picture(result: ClaimsResult) -> bytes:
    """Return broadening or rates over the batch size as an SVG."""
    curves: dict[str, Mapping[int, Sequence[float]]]
    if result.broadening:
        title = "largest eigenvalue of a batch over that of all images"
        found = result.broadening
        curves = {
            "measured": {size: [float(np.mean(one.by_size[size])) / one.whole for one in found] for size in BROADENING_SIZES},
            "Theorem 4": {size: [one.predicted[size] / one.whole for one in found] for size in BROADENING_SIZES},
        }
    else:
        title = "largest learning rate that trains"
        curves = {name: {size: trained(values) for size, values in one.by_size.items()} for name, one in result.rates.items()}
    return batch_curves(curves, title=f"{title}, {len(result.seeds)} seeds")


def trained(rates: Sequence[float | None]) -> list[float]:
    """Return the learning rates of the seeds that have one."""
    return [rate for rate in rates if rate is not None]


def with_deviation(values: Sequence[float], form: str) -> str:
    """Return mean ± standard deviation."""
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1):{form.lstrip('0123456789')}}"


def interval(bounds: tuple[float, float]) -> str:
    """Return an interval as text."""
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"


def holds(claim: bool) -> str:
    """Return the verdict on a claim."""
    return "holds" if claim else "does not hold"
