"""The model card of an exported generator: architecture, training, licence of the images, scores."""

import json
from pathlib import Path

from torch import nn

from gconv_gan.commands.exported import ExportedGenerator
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import validated
from gconv_gan.metrics.score_card import Score

IMAGENET = "non-commercial research and education only, under ImageNet's terms of access"
LICENCES = {
    "digits": "CC BY 4.0 (UCI Machine Learning Repository, Optical Recognition of Handwritten Digits; bundled with scikit-learn).",
    "cifar10": "Not stated by the authors. Cite Krizhevsky, 2009.",
    "cifar100": "Not stated by the authors. Cite Krizhevsky, 2009.",
    "fashion_mnist": "MIT (Zalando SE).",
    "svhn": "Non-commercial use only, as the authors state. Cite Netzer et al., 2011.",
    "tiny_imagenet": f"Not stated by the authors of the subset; ImageNet's images: {IMAGENET}.",
    "imagenet": f"ImageNet's images: {IMAGENET}.",
    "celeba": "Non-commercial research only, under the agreement of the authors (MMLAB, CUHK). The images are of real persons.",
    "lsun_church": "Not stated by the authors; the pictures belong to their owners. Cite Yu et al., 2015.",
    "cub": "Non-commercial research and education only (Caltech); the pictures belong to their owners.",
    "stanford_dogs": f"Not stated by the authors of the subset; ImageNet's images: {IMAGENET}.",
    "folder": "Your own pictures: their licence is not known to this software. State it here before you pass the model on.",
    "webdataset": "Your own shards: their licence is not known to this software. State it here before you pass the model on.",
}
"""``data.kind`` -> the terms of use of its images."""
OF_A_PLUGIN = "Not known to this software: the data set is a plug-in's. State it here before you pass the model on."


def model_card(generator: nn.Module, description: ExportedGenerator, run: Path, *, onnx_difference: float | None) -> str:
    """Return the card as Markdown.

    Args:
        generator: the generator, for its number of parameters.
        description: content of the folder's config.json.
        run: the run folder; the card contains those of ``scores/*.json`` that are of these weights.
        onnx_difference: largest difference of images in [-1, 1] between generator.onnx and the weights; None: there is no such file.

    """
    config = description.run
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    onnx = "not exported" if onnx_difference is None else f"generator.onnx, within {onnx_difference:.1g} of the weights' images in [-1, 1]"
    classes = f"{len(description.classes)}: {', '.join(description.classes)}" if description.classes else "none (unconditional)"
    conv = getattr(config.generator, "conv", None)
    convolution = "" if conv is None else f"convolution {conv.kind}, "
    facts = {
        "Generator": f"{config.generator.kind}, {convolution}{parameters:,} parameters",
        "Images": f"{description.image_size}×{description.image_size}, RGB in [-1, 1]",
        "Latent vector": f"N(0, I), {config.generator.latent_dim} dimensions",
        "Classes": classes,
        "Weights": f"exponential average, SHA-256 {description.weights_sha256}",
        "ONNX": onnx,
    }
    training = {
        "Loss": config.objective.loss,
        "Discriminator": f"{config.discriminator.kind}, normalisation {config.discriminator.norm.kind}",
        "Length": f"{description.images_seen:,} real images seen, batch {config.trainer.batch_size}, n_dis {config.trainer.n_dis}",
        "Learning rates": f"{config.generator_optimizer.learning_rate:g} (G), {config.discriminator_optimizer.learning_rate:g} (D), "
        f"{config.schedule.kind} schedule",
        "Seed": str(config.seed),
    }
    data = {"Data set": description.data_title, "Licence": LICENCES.get(config.data.kind, OF_A_PLUGIN)}
    scores = _scores(run, description.weights_sha256)
    sections = [f"# {config.name}", _rows(facts), "## Training", _rows(training), "## Data", _rows(data), "## Scores", *scores]
    use = "python -m gconv_gan.sample FOLDER --num 64 --seed 0" + (" --class 0" if description.classes else "")
    return "\n\n".join([*sections, "## Use", f"    {use}"]) + "\n"


def _rows(facts: dict[str, str]) -> str:
    return "\n".join(f"- **{name}:** {value}" for name, value in facts.items())


def _scores(run: Path, weights_sha256: str) -> list[str]:
    """Return a table for each score of these weights in the run folder, or a sentence that there is none."""
    kept = [score for path in sorted((run / "scores").glob("*.json")) if (score := _score(path)) is not None]
    tables = [_table(score) for score in kept if score.card.fakes.weights_sha256 == weights_sha256]
    return tables or ["These weights are not scored yet: eval/gan_metrics.py RUN --checkpoint IMAGES, then export again."]


def _score(path: Path) -> Score | None:
    """Return the score in a file; None if it is a card of another kind, such as a classifier's."""
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): score the run again, or remove it") from error
    return validated(Score, fields, str(path)) if "card" in fields else None


def _table(score: Score) -> str:
    """Return the numbers of a score under a description from its card."""
    formula, fakes, reference = score.card.formula, score.card.fakes, score.card.reference
    real = "an unknown number" if formula.num_real is None else f"{formula.num_real:,}"
    split = "" if reference.split is None else f" (split {reference.split})"
    rule = "" if score.card.run.checkpoint_rule is None else f", chosen as {score.card.run.checkpoint_rule}"
    cut = "none" if fakes.truncation is None else f"{fakes.truncated} at {fakes.truncation:g}"
    head = (
        f"{formula.protocol}: features of {score.card.extractor.name}, {formula.num_fake:,} generated against {real} of {reference.source}"
        f"{split}; {fakes.weights} weights at {fakes.images_seen} images{rule}; BatchNorm {fakes.batch_norm}, truncation {cut}, "
        f"labels {fakes.labels}, seed {fakes.seed}."
    )
    rows = [f"| {name} | {value:.6g} |" for name, value in score.scores.items()]
    return "\n".join([head, "", "| score | value |", "|---|---|", *rows])
