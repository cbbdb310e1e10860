"""What a user does with a finished run."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import EvaluationConfig, GANRunConfig
from gconv_gan.metrics.extractors.weights import available_extractors
from gconv_gan.metrics.protocols import protocol


def next_steps(config: GANRunConfig | ClassifierRunConfig, folder: Path, *, images_seen: int, num_images: int) -> Sequence[str]:
    """Return the lines that a finished run ends with: the commands for its folder, of which each runs as it stands.

    Args:
        config: the run.
        folder: its folder.
        images_seen: where it ended.
        num_images: number of training images; a protocol that compares with more is printed with ``--num-real``.

    """
    run = shlex.quote(str(folder))
    if isinstance(config, ClassifierRunConfig):
        return [f"next: gconv-gan test {run}"]
    samples = shlex.quote(str(folder / f"samples-{images_seen}.zip"))
    return [
        "next:",
        f"  gconv-gan gallery {run}",
        f"  gconv-gan score {run} {score_options(config.evaluation, num_images)}",
        f"  gconv-gan doctor {run}",
        f"  gconv-gan export {run}",
        f"  gconv-gan sample {run} --num 1000 --out {samples}",
    ]


def score_options(evaluation: EvaluationConfig, num_images: int | None) -> str:
    """Return the options of a score: those of the score during training, else of a protocol whose extractor has its weights here.

    With the number of training images a protocol that compares with more is given ``--num-real``.
    """
    if evaluation.every:
        name, num_real = evaluation.protocol, evaluation.num_real
        more: dict[str, Sequence[object]] = {
            "--extractor": [evaluation.extractor],
            "--weights": [evaluation.weights],
            "--metrics": evaluation.metrics or [],
            "--num-fake": [evaluation.num_fake],
            "--batch-norm": [evaluation.batch_norm if evaluation.batch_norm != "eval" else None],
        }
    else:
        weights, num_real = available_extractors(), None
        name = "fd2k_lite0" if "efficientnet_lite0" in weights and "inception" not in weights else "fid2k"
        more = {"--download": ["true" if name == "fid2k" and "inception" not in weights else None]}
    compared = num_real or protocol(name).num_real
    too_many = compared is not None and num_images is not None and compared > num_images
    options = {"--protocol": [name], **more, "--num-real": [num_images if too_many else num_real]}
    given = {flag: [shlex.quote(str(value)) for value in values if value is not None] for flag, values in options.items()}
    return " ".join(word for flag, values in given.items() if values for word in (flag, *values))
