"""The model card of an exported generator, with the header that the Hub reads: architecture, training, licence of the images, scores."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import EvalResult, ModelCardData
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


IDENTIFIERS = {"digits": "cc-by-4.0", "fashion_mnist": "mit"}
"""``data.kind`` -> the Hub's name of the licence; other terms have none."""
TASK = "unconditional-image-generation"


@dataclass(frozen=True)
class ONNXFacts:
    """What was measured of generator.onnx: difference of images in [-1, 1] from the weights', milliseconds per image of both."""

    difference: float
    milliseconds: float
    torch_milliseconds: float


def model_card(
    generator: nn.Module,
    description: ExportedGenerator,
    run: Path,
    *,
    onnx: ONNXFacts | None,
    samples: str | None = None,
    repository: str | None = None,
) -> str:
    """Return the card as Markdown.

    Args:
        generator: the generator, for its number of parameters.
        description: content of the folder's config.json.
        run: the run folder; the card contains those of ``scores/*.json`` that are of these weights.
        onnx: what was measured of generator.onnx; None: there is no such file.
        samples: name of the picture of samples; None: there is none.
        repository: the repository of the Hub that the folder is uploaded to.

    """
    config = description.run
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    measured = (
        "not exported"
        if onnx is None
        else f"generator.onnx, any batch size, within {onnx.difference:.1g} of the weights' images in [-1, 1]; one image takes "
        f"{onnx.milliseconds:.3g} ms, by torch {onnx.torch_milliseconds:.3g} ms (CPU, {torch.get_num_threads()} threads)"
    )
    classes = f"{len(description.classes)}: {', '.join(description.classes)}" if description.classes else "none (unconditional)"
    conv = getattr(config.generator, "conv", None)
    convolution = "" if conv is None else f"convolution {conv.kind}, "
    facts = {
        "Generator": f"{config.generator.kind}, {convolution}{parameters:,} parameters",
        "Images": f"{description.image_size}×{description.image_size}, RGB in [-1, 1]",
        "Latent vector": f"N(0, I), {config.generator.latent_dim} dimensions",
        "Classes": classes,
        "Weights": f"exponential average, SHA-256 {description.weights_sha256}",
        "ONNX": measured,
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
    scores = _kept_scores(run, description.weights_sha256)
    tables = [_table(score) for score in scores] or [NOT_SCORED]
    picture = [] if samples is None else [f"![The first samples of seed 0, none picked]({samples})"]
    sections = [f"# {config.name}", *picture, _rows(facts), "## Training", _rows(training), "## Data", _rows(data), "## Scores", *tables]
    return f"---\n{_header(description, scores)}\n---\n\n" + "\n\n".join([*sections, "## Use", *_use(description, repository)]) + "\n"


NOT_SCORED = "These weights are not scored yet: gconv-gan score RUN --checkpoint IMAGES, then export again."


def _header(description: ExportedGenerator, scores: Sequence[Score]) -> str:
    """Return the card's header in YAML."""
    config = description.run
    kind = config.data.kind
    known = IDENTIFIERS.get(kind, "other")
    conv = getattr(config.generator, "conv", None)
    tags = ["gan", "image-generation", "class-conditional" if description.classes else "unconditional", "safetensors"]
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=kind,
            dataset_name=description.data_title,
            metric_type=name,
            metric_value=value,
            metric_name=f"{name} ({score.card.formula.protocol}, {score.card.extractor.name})",
        )
        for score in scores
        for name, value in score.scores.items()
    ]
    header = ModelCardData(
        library_name="gconv_gan",
        license=known,
        license_name="terms-of-the-training-images" if known == "other" else None,
        pipeline_tag=TASK,
        tags=[*tags, *([conv.kind] if conv is not None and conv.kind not in tags else [])],
        metrics=sorted({name for score in scores for name in score.scores}) or None,
        model_name=config.name,
        eval_results=results or None,
    )
    return str(header.to_yaml())


def _use(description: ExportedGenerator, repository: str | None) -> list[str]:
    """Return how to draw images, in Python and on the command line."""
    label = ", label=0" if description.classes else ""
    folder = '"."  # this folder' if repository is None else f'huggingface_hub.snapshot_download("{repository}")'
    code = [
        *([] if repository is None else ["import huggingface_hub"]),
        "from PIL import Image",
        "",
        "import gconv_gan",
        "",
        f"gan = gconv_gan.load({folder.split('  ')[0]})" + ("  # this folder" if repository is None else ""),
        f"images = gan.sample(4, seed=0{label})  # uint8 [4, 3, {description.image_size}, {description.image_size}]",
        'Image.fromarray(images[0].permute(1, 2, 0).numpy()).save("sample.png")',
    ]
    command = "gconv-gan sample . --num 64 --out samples.zip" + (" --label 0" if description.classes else "")
    return ["\n".join(["```python", *code, "```"]), "\n".join(["```sh", command, "```"])]


def _rows(facts: dict[str, str]) -> str:
    return "\n".join(f"- **{name}:** {value}" for name, value in facts.items())


def _kept_scores(run: Path, weights_sha256: str) -> list[Score]:
    """Return the scores of these weights in the run folder."""
    kept = [score for path in sorted((run / "scores").glob("*.json")) if (score := _score(path)) is not None]
    return [score for score in kept if score.card.fakes.weights_sha256 == weights_sha256]


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
    source = _last(reference.source)
    head = (
        f"{formula.protocol}: features of {score.card.extractor.name}, {formula.num_fake:,} generated against {real} of {source}"
        f"{split}; {fakes.weights} weights at {fakes.images_seen} images{rule}; BatchNorm {fakes.batch_norm}, truncation {cut}, "
        f"labels {fakes.labels}, seed {fakes.seed}."
    )
    rows = [f"| {name} | {value:.6g} |" for name, value in score.scores.items()]
    return "\n".join([head, "", "| score | value |", "|---|---|", *rows])


def _last(source: str) -> str:
    """Return the name of a file or folder with an absolute path; any other source as it is."""
    return Path(source).name if Path(source).is_absolute() else source
