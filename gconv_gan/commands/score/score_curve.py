"""Scores of every checkpoint of a run: the curve, its best, its last. The best checkpoint is protected from deletion."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from accelerate.utils import broadcast_object_list
from pydantic import ValidationError

from gconv_gan.commands.score.fakes import Fakes
from gconv_gan.commands.score.scores import Job, References, evaluations_of, fakes_of, jobs_of, require_outlet, score_file, score_jobs
from gconv_gan.commands.train.networks import load_run, require_gan_run
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command
from gconv_gan.config.sections.scores import CurveCommand
from gconv_gan.metrics.evaluate import formula_card
from gconv_gan.metrics.extractors.factory import build_extractors
from gconv_gan.metrics.metric import Evaluation
from gconv_gan.metrics.score_card import Score, contradictions
from gconv_gan.metrics.tables import lower_is_better
from gconv_gan.runtime.device import command_device, process_state
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.training.best import mark_best
from gconv_gan.training.checkpoint import checkpoints, damage


def main(arguments: Sequence[str]) -> None:
    """Score every checkpoint of a run that is not scored yet, print the curves, and mark the best."""
    command = parse_command(CurveCommand, arguments)
    require_gan_run(Path(command.run))
    require_outlet(command.json_out)
    jobs = jobs_of(command, generated=True)
    curves = score_checkpoints(command, jobs)
    if not process_state().is_main_process:
        return
    ruled = [conclude(command, job, curve) for job, curve in zip(jobs, curves, strict=True)]
    if command.json_out:
        everything = [json.loads(score.to_json()) for curve in ruled for score in curve.values()]
        Path(command.json_out).parent.mkdir(parents=True, exist_ok=True)
        write_text(Path(command.json_out), json.dumps(everything, indent=2) + "\n")
        print(f"written to {command.json_out}")


Value = TypeVar("Value")
Curve = dict[int, Score]
"""Images seen -> the score of that checkpoint, in the order of training."""


def conclude(command: CurveCommand, job: Job, curve: Curve) -> Curve:
    """Print a curve, mark its best checkpoint, and return the curve; each card names the rule of its checkpoint: best, or last.

    The score files are written again with these cards.
    """
    key = _deciding(command, curve)
    best = min(curve, key=lambda images: _rank(curve[images].scores[key], key))  # the earliest among equal scores
    ruled = {}
    for images, score in curve.items():
        rule = f"best of {len(curve)} by {key}" if images == best else "last" if images == max(curve) else f"one of {len(curve)}"
        run = score.card.run.model_copy(update={"checkpoint_rule": rule})
        ruled[images] = score.model_copy(update={"card": score.card.model_copy(update={"run": run})})
        write_text(score_file(Path(command.run), command, job, images), ruled[images].to_json() + "\n")
    name = f"{job.protocol.name}/{key}"
    mark_best(Path(command.run), name, images=best, value=curve[best].scores[key], out_of=len(curve))
    print("\n".join(lines(curve, key=key, best=best)))
    return ruled


def _deciding(command: CurveCommand, scores: Curve) -> str:
    """Return the key of the score that determines the best checkpoint: that of ``--by``, else the first."""
    known = list(next(iter(scores.values())).scores)
    if command.by is None:
        return known[0]
    if command.by not in known:
        raise UserError(f"--by {command.by} is not among the scores computed: {', '.join(known)}")
    return command.by


def _rank(value: float, key: str) -> float:
    return value if key in lower_is_better() else -value


def lines(scores: Curve, *, key: str, best: int) -> list[str]:
    """Return the curve as a table, with its best and its last score."""
    first, last = next(iter(scores.values())), max(scores)
    keys = list(first.scores)
    rows = [["images", *keys], *([f"{images:,}", *(f"{score.scores[k]:.6g}" for k in keys)] for images, score in scores.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [
        first.lines()[0],
        *table,
        f"  best by {key}: {scores[best].scores[key]:.6g} at {best:,} images, of {len(scores)} checkpoints",
        f"  last: {scores[last].scores[key]:.6g} at {last:,} images",
    ]


def score_checkpoints(command: CurveCommand, jobs: Sequence[Job]) -> list[Curve]:
    """Return a curve over the complete checkpoints for every job; scores in the run's ``scores/`` are not computed again.

    Raises:
        UserError: the run has no complete checkpoint, or as ``scores.evaluate``.

    """
    device, folder = command_device(), Path(command.run)
    networks = build_extractors(
        [job.extractor for job in jobs],
        weights=Path(command.weights) if command.weights else None,
        download=command.download,
        device=device,
    )
    curves: list[Curve] = [{} for _ in jobs]
    references: References | None = None
    for images in _agreed([images for images, path in reversed(checkpoints(folder)) if _is_whole(path)]):
        run = load_run(folder, checkpoint=images)
        references = references or References(command, run, None)
        fakes = fakes_of(run, command, jobs, rule="")
        evaluations = evaluations_of(fakes, jobs, networks, references)
        files = [score_file(folder, command, job, images) for job in jobs]
        found = _agreed([_stored(file, fakes, one) for file, one in zip(files, evaluations, strict=True)])
        missing = [index for index, text in enumerate(found) if text is None]
        if 0 < len(missing) < len(jobs):
            fakes = fakes_of(run, command, [jobs[index] for index in missing], rule="")  # the remaining jobs may need fewer images
        fresh = score_jobs(fakes, command, [evaluations[index] for index in missing]) if missing else []
        scores = {index: Score.model_validate_json(text) for index, text in enumerate(found) if text is not None}
        scores |= dict(zip(missing, fresh, strict=True))
        for index, curve in enumerate(curves):
            curve[images] = scores[index]
            if index in missing and process_state().is_main_process:
                files[index].parent.mkdir(exist_ok=True)
                write_text(files[index], scores[index].to_json() + "\n")
    if not curves[0]:
        raise UserError(f"{folder} has no whole checkpoint yet")
    return curves


def _is_whole(path: Path) -> bool:
    fault = damage(path)
    if fault is not None and process_state().is_main_process:
        print(f"skipping damaged checkpoint {path}: {fault}")
    return fault is None


def _agreed(value: Value) -> Value:
    """Return the main process's ``value`` on every process, since files may change between two reads."""
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def _stored(file: Path, fakes: Fakes, one: Evaluation) -> str | None:
    """Return the score in ``file`` as JSON if its card equals that of a computation now, else None."""
    try:
        score = Score.model_validate_json(file.read_text())
    except (FileNotFoundError, ValidationError):
        return None
    expected = fakes.card.model_copy(update={"images_sha256": score.card.fakes.images_sha256})
    alike = (
        not contradictions(score.card.fakes, expected, "fakes")
        and score.card.formula == formula_card(fakes.source, one)
        and not contradictions(score.card.reference, one.reference.reference, "reference")
        and score.card.extractor == one.reference.extractor
    )
    return score.to_json() if alike else None
