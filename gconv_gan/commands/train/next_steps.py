"""What a user does with a finished run."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.metrics.extractors.weights import available_extractors


def next_steps(config: GANRunConfig | ClassifierRunConfig, folder: Path, *, images_seen: int) -> Sequence[str]:
    """Return the lines that a finished run ends with: the commands for its folder."""
    run = shlex.quote(str(folder))
    if isinstance(config, ClassifierRunConfig):
        return [f"next: python eval/classifier.py {run}"]
    evaluation = config.evaluation
    if evaluation.every:
        options = f" --protocol {evaluation.protocol}"
        options += f" --extractor {shlex.quote(evaluation.extractor)}" if evaluation.extractor else ""
    else:
        weights = available_extractors()
        options = " --protocol " + ("fd2k_lite0" if "efficientnet_lite0" in weights and "inception" not in weights else "fid2k")
    samples = shlex.quote(str(folder / f"samples-{images_seen}.zip"))
    return [
        "next:",
        f"  gconv-gan gallery {run}",
        f"  gconv-gan score {run}{options}",
        f"  gconv-gan doctor {run}",
        f"  gconv-gan export {run}",
        f"  gconv-gan sample {run} --num 1000 --out {samples}",
    ]
