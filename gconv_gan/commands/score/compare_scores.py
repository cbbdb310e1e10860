"""Scores of several runs or files in one table."""

import json
from collections.abc import Sequence
from pathlib import Path

from gconv_gan.commands.score.checkpoint_choice import best_of
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.config.load import parse_command, validated
from gconv_gan.config.sections.scores import CompareCommand
from gconv_gan.metrics.comparison import groups, table
from gconv_gan.metrics.score_card import Score


def main(arguments: Sequence[str]) -> None:
    """Print one table for each kind of score that all sources have."""
    command = parse_command(CompareCommand, arguments)
    if len(set(command.sources)) < 2:
        raise UserError("name at least two different files of scores or run folders")
    sources = [(source, read(source, protocol=command.protocol, checkpoint=_images(source, command))) for source in command.sources]
    print("\n\n".join("\n".join(table(entries, mark=command.mark)) for entries in groups(sources)))


def _images(source: str, command: CompareCommand) -> int | None:
    """Return the number of images of ``--checkpoint`` for this source; None: any."""
    if command.checkpoint != "best":
        return command.checkpoint
    if not (Path(source) / "config.json").is_file():
        raise UserError(f"--checkpoint best is for run folders, but {source} is not one: name the score file instead, without --checkpoint")
    return best_of(Path(source))[0]


def read(source: str, *, protocol: str | None, checkpoint: int | None) -> list[Score]:
    """Return the scores in a file that ``gan_metrics`` wrote, or in a run's ``scores/``.

    Args:
        source: the file or run folder.
        protocol: only scores under this protocol, with or without changes to it.
        checkpoint: only scores at this number of images.

    Raises:
        UserError: there are none, or a file holds something else.

    """
    found = stored(source)
    kept = matching(found, protocol=protocol, checkpoint=checkpoint)
    if not kept:
        held = ", ".join(sorted({f"{score.card.formula.protocol} at {score.card.fakes.images_seen}" for score in found}))
        raise UserError(f"{source} has no such score; it has {held}")
    return kept


def stored(source: str) -> list[Score]:
    """Return all scores in a file that ``gan_metrics`` wrote, or in a run's ``scores/``; raise ``UserError`` where there are none."""
    path = Path(source)
    files = sorted((path / "scores").glob("*.json")) if path.is_dir() else [path]
    if not path.exists():
        raise UserError(does_not_exist(path))
    if not files:
        raise UserError(f"{source} is neither a file of scores nor a run that was scored (run gconv-gan score first)")
    return [score for file in files for score in _in_file(file)]


def matching(scores: Sequence[Score], *, protocol: str | None, checkpoint: int | None) -> list[Score]:
    """Return the scores under a protocol, with or without changes to it, at a number of images; None: any."""
    return [
        score
        for score in scores
        if (protocol is None or score.card.formula.protocol.split(" (")[0] == protocol or score.card.formula.protocol == protocol)
        and (checkpoint is None or score.card.fakes.images_seen == checkpoint)
    ]


def _in_file(file: Path) -> list[Score]:
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is not a file of scores: {error}") from error
    return [validated(Score, one, str(file)) for one in (content if isinstance(content, list) else [content])]
