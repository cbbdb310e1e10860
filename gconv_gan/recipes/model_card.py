"""The model card of an exported generator: what it is, how it was trained, on whose images, and how good it is."""

import json
from pathlib import Path

from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.score_card import Score
from gconv_gan.recipes.exported import ExportedGenerator

LICENCES = {
    "digits": "CC BY 4.0 (UCI Machine Learning Repository, Optical Recognition of Handwritten Digits; bundled with scikit-learn).",
    "cifar10": "No licence is stated by its authors; widely used for research. Cite Krizhevsky, 2009.",
    "cifar100": "No licence is stated by its authors; widely used for research. Cite Krizhevsky, 2009.",
    "fashion_mnist": "MIT (Zalando SE).",
    "svhn": "Non-commercial use only, as its authors state. Cite Netzer et al., 2011.",
    "tiny_imagenet": "A subset of ImageNet: non-commercial research and education only, under ImageNet's terms of access.",
    "imagenet": "Non-commercial research and education only, under ImageNet's terms of access.",
    "celeba": "Non-commercial research only, under the agreement of its authors (MMLAB, CUHK). The images are of real persons.",
    "lsun_church": "No licence is stated; the pictures belong to their owners. Research use. Cite Yu et al., 2015.",
    "cub": "Non-commercial research and education only (Caltech); the pictures belong to their owners.",
    "stanford_dogs": "A subset of ImageNet: non-commercial research and education only, under ImageNet's terms of access.",
    "folder": "Your own pictures: their licence is not known to this software. State it here before you pass the model on.",
    "webdataset": "Your own shards: their licence is not known to this software. State it here before you pass the model on.",
}
"""``data.kind`` -> what its authors allow."""


def model_card(generator: nn.Module, description: ExportedGenerator, run: Path, *, onnx_difference: float | None) -> str:
    """Return the card as Markdown.

    Args:
        generator: for its number of parameters.
        description: what the folder's config.json says.
        run: the run folder, whose ``scores/*.json`` are quoted.
        onnx_difference: of images in [-1, 1], between generator.onnx and the weights; None: there is no such file.

    """
    config = description.run
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    onnx = "not exported" if onnx_difference is None else f"generator.onnx, within {onnx_difference:.1g} of the weights' images in [-1, 1]"
    classes = f"{len(description.classes)}: {', '.join(description.classes)}" if description.classes else "none (unconditional)"
    facts = {
        "Generator": f"{config.generator.kind}, convolution {config.generator.conv.kind}, {parameters:,} parameters",
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
    data = {"Data set": description.data_title, "Licence": LICENCES[config.data.kind]}
    sections = [f"# {config.name}", _rows(facts), "## Training", _rows(training), "## Data", _rows(data), "## Scores", *_scores(run)]
    use = "python -m gconv_gan.sample FOLDER --num 64 --seed 0" + (" --class 0" if description.classes else "")
    return "\n\n".join([*sections, "## Use", f"    {use}"]) + "\n"


def _rows(facts: dict[str, str]) -> str:
    return "\n".join(f"- **{name}:** {value}" for name, value in facts.items())


def _scores(run: Path) -> list[str]:
    """Return one table per score file of the run, each under what its card says, or a sentence that there is none."""
    tables = []
    for path in sorted((run / "scores").glob("*.json")):
        if "card" not in (fields := json.loads(path.read_text())):
            continue  # another test's card, such as a classifier's
        try:
            score = Score.model_validate_json(json.dumps(fields))
        except ValueError as error:
            raise UserError(f"{path} is not a score this version reads: score the run again, or remove it ({error})") from error
        card, fakes = score.card.formula, score.card.fakes
        real = "an unknown number" if card.num_real is None else f"{card.num_real:,}"
        head = (
            f"{card.protocol}: features of {score.card.extractor.name}, {card.num_fake:,} generated against {real} of "
            f"{score.card.reference.source} (split {score.card.reference.split}), {fakes.weights} weights at {fakes.images_seen} images, "
            f"BatchNorm {fakes.batch_norm}, seed {fakes.seed}"
        )
        rows = [f"| {name} | {value:.6g} |" for name, value in score.scores.items()]
        tables.append("\n".join([head, "", "| score | value |", "|---|---|", *rows]))
    return tables or ["Not scored yet: eval/gan_metrics.py RUN, then export again."]
