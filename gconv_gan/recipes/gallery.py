"""The gallery of a run: its generator, its records and its scores, as pictures and one page."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import NonNegativeInt

from gconv_gan.config.base import Config
from gconv_gan.config.load import parse_command
from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.subject import RunFacts, Subject
from gconv_gan.recipes.networks import TrainedRun, load_run
from gconv_gan.runtime.tracking import read_metrics


class GalleryCommand(Config):
    """Draw the gallery of a run."""

    run: Annotated[str, tyro.conf.Positional]
    """The run folder."""
    out: str | None = None
    """Folder of the gallery; None: samples/NAME."""
    checkpoint: NonNegativeInt | None = None
    """Images seen at the checkpoint; None: the newest."""
    seed: NonNegativeInt = 0
    """Seed of all latents and labels."""


def main(arguments: Sequence[str]) -> None:
    """Draw the gallery that the command line names and print where its page lies."""
    command = parse_command(GalleryCommand, arguments)
    run = load_run(command.run, images=command.checkpoint)
    out = Path(command.out) if command.out else Path("samples") / run.config.name
    print(f"gallery: {build_gallery(out, subject(run, Path(command.run)), seed=command.seed)}")


def subject(run: TrainedRun, folder: Path) -> Subject:
    """Return everything the pictures of ``run`` are drawn from."""
    file = run.checkpoint / "ema.safetensors"
    generator = run.generator()
    config, progress = run.config, run.state["progress"]
    conv = config.generator.conv
    details = {
        "networks": f"{config.generator.kind}, width {config.generator.width} and {config.discriminator.width}",
        "generator's convolution": f"gconv, {conv.mode}, gates: {conv.selection}" if conv.kind == "gconv" else conv.kind,
        "discriminator's norm": config.discriminator.norm.kind,
        "loss": config.objective.loss,
        "batch": f"{config.trainer.batch_size}, {config.trainer.n_dis} discriminator step(s) per generator step",
        "generator steps": f"{progress['g_steps']:,}",
        "parameters of the generator": f"{sum(p.numel() for p in generator.parameters()):,}",
        "seed": str(config.seed),
    }
    facts = RunFacts(
        name=config.name,
        dataset=str(run.state["data_title"]),
        images_seen=run.images_seen,
        checkpoint=run.checkpoint.name,
        checkpoint_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        class_names=run.class_names,
        details=details,
    )
    grids = ((int(path.stem), path) for path in (folder / "samples").glob("*.png") if path.stem.isdigit())
    timeline = tuple(sorted((images, path) for images, path in grids if images <= run.images_seen))
    scores = tuple(json.loads(path.read_text()) for path in sorted((folder / "scores").glob("*.json")))
    reals = folder / "samples" / "reals.png"
    records = tuple(record for record in read_metrics(folder / "metrics.jsonl") if record["images"] <= run.images_seen)
    return Subject(generator, facts, records, scores, timeline, reals if reals.is_file() else None)
