"""The runs in a folder: state, progress, best score and age; and the differences of their configs."""

import errno
import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gconv_gan.config.base import Config
from gconv_gan.config.commands import JsonFile
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.gallery.page.score_names import Direction, direction
from gconv_gan.gallery.score import Score, read_score
from gconv_gan.metrics.comparison import aligned
from gconv_gan.metrics.tables import lower_is_better
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.run_folder import LOCK
from gconv_gan.runtime.tracking import flat, read_metrics
from gconv_gan.training.best import best_marks
from gconv_gan.training.checkpoint import STATE, checkpoints

State = Literal["running", "finished", "stopped", "failed"]
ABSENT = "absent"


class RunsCommand(Config):
    """List the runs in a folder, or compare the configs of some."""

    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER]")] = "runs"
    """The folder of the runs; runs in folders below it are listed too."""
    diff: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN RUN [RUN ...]")] = ()
    """Print the keys of the config in which these runs differ, by name in the folder or by path."""
    json_out: JsonFile = None
    """Write the list, or the differences, to this file."""


def main(arguments: Sequence[str]) -> None:
    """Print the table that the command line asks for."""
    command = parse_command(RunsCommand, arguments)
    folder = Path(command.folder)
    if command.diff:
        if len(command.diff) < 2:
            raise UserError("--diff compares at least two runs")
        content: Any = differences([_run_folder(folder, name) for name in command.diff])
        rows = [["", *command.diff], *([key, *map(_shown, values)] for key, values in content.items())]
        lines = aligned(rows) if content else ["  the configs are equal"]
    else:
        if not folder.is_dir():
            raise UserError(does_not_exist(folder))
        found = [about(path) for path in run_folders(folder)]
        content = [asdict(one) for one in found]
        if not found:
            raise UserError(f"{folder} holds no runs")
        lines = aligned([["name", "state", "progress", "best score", "age"], *(one.row(folder) for one in found)])
    print("\n".join(lines))
    if command.json_out is not None:
        write_text(Path(command.json_out), json.dumps(content, indent=2) + "\n")


@dataclass(frozen=True)
class RunState:
    """What is known of a run from its folder."""

    path: str
    state: State
    """running: a process holds its lock; finished: all images were seen; stopped: ended after saving; failed: ended without."""
    images_seen: int
    total_images: int
    best_name: str | None
    best_score: float | None
    seconds: float
    """Since its last sign of life."""

    def row(self, folder: Path) -> list[str]:
        """Return the cells of the table."""
        share = min(100.0, 100 * self.images_seen / self.total_images)  # the last iteration may exceed the total
        best = "-" if self.best_score is None else f"{self.best_name} {self.best_score:.4g}"
        name = str(Path(self.path).relative_to(folder))
        return [name, self.state, f"{self.images_seen:,} of {self.total_images:,} ({share:.0f} %)", best, age(self.seconds)]


def run_folders(folder: Path) -> Iterator[Path]:
    """Yield the run folders in a folder and in those below it, by name; a run within a run is none."""
    if (folder / "config.json").is_file() and (folder / "command.txt").is_file():
        yield folder
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield from run_folders(path)


def about(folder: Path) -> RunState:
    """Return the state of the run in ``folder``.

    Raises:
        UserError: its config or log is damaged.

    """
    try:
        total = int(json.loads((folder / "config.json").read_text())["trainer"]["total_images"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'} is not the config of a run") from error
    saved = checkpoints(folder)
    newest = saved[0][0] if saved else 0
    records = read_metrics(folder / "metrics.jsonl")
    logged = int(records[-1]["images"]) if records else 0
    state: State
    if is_locked(folder / LOCK):
        state = "running"
    elif newest >= total:
        state = "finished"
    else:
        state = "stopped" if saved and logged <= newest else "failed"
    top = best(folder, saved[0][1] if saved else None)
    name, score = (None, None) if top is None else (top.name, top.value)
    signs = [folder / "config.json", folder / "metrics.jsonl", folder / "log.txt", *(path for _, path in saved)]
    last = max(path.stat().st_mtime for path in signs if path.exists())
    return RunState(str(folder), state, max(newest, logged), total, name, score, max(0.0, time.time() - last))


def is_locked(lock: Path) -> bool:
    """Return whether a process holds the lock of a run; False where there are no locks."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False


@dataclass(frozen=True)
class BestScore:
    """The best score of a run."""

    name: str
    """Protocol and key, "fid2k/fid"."""
    value: float
    direction: Direction | None
    """Which way it is better; None: not known."""


def best(folder: Path, newest: Path | None) -> BestScore | None:
    """Return a run's best score: of its score curves, else of the scores during training, else of those after it."""
    for name, mark in best_marks(folder).items():
        return BestScore(name, float(mark["value"]), _direction(name, folder / "scores"))
    if newest is not None and (newest / STATE).is_file():
        progress = json.loads((newest / STATE).read_text())["progress"]
        if (value := progress.get("best_score")) is not None:
            name = str(progress["best_name"])
            return BestScore(name, float(value), _direction(name, folder / "scores"))
    return best_of_files(folder / "scores")


def _direction(name: str, scores: Path) -> Direction | None:
    """Return which way "protocol/key" is better; where no loaded metric knows it, as the card of a score with this key says."""
    key = name.rpartition("/")[2]
    if (known := direction(key, lower_is_better())) is not None:
        return known
    read = (score for file in sorted(scores.rglob("*.json")) for score in _scores(file))
    return next((score.directions[key] for score in read if key in score.directions), None)


def best_of_files(scores: Path) -> BestScore | None:
    """Return the best score among the score files of a run: by the first score of the first file.

    Raises:
        UserError: a file is damaged.

    """
    found: dict[str, list[Score]] = {}
    for score in (score for file in sorted(scores.glob("*.json")) for score in _scores(file)):
        found.setdefault(f"{score.protocol}/{score.keys[0]}", []).append(score)
    if not found:
        return None
    name, alike = next(iter(found.items()))
    key = alike[0].keys[0]
    better = alike[0].directions.get(key)
    return BestScore(name, (min if better == "lower" else max)(score.numbers[key] for score in alike), better)


def _scores(file: Path) -> list[Score]:
    """Return the scores in a file that have a number; none in the card of a classifier, which has no protocol."""
    try:
        content = json.loads(file.read_text())
        if isinstance(content, dict) and "card" not in content:
            return []
        scores = [read_score(one, lower_is_better=lower_is_better()) for one in (content if isinstance(content, list) else [content])]
    except (ValueError, AttributeError, UserError) as error:
        raise UserError(f"{file} is damaged ({error}): score the run again, or remove it") from error
    return [score for score in scores if score.keys]


def age(seconds: float) -> str:
    """Return a duration in its largest unit: 40 s, 3 min, 5 h, 2 d."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def differences(folders: Sequence[Path]) -> dict[str, list[Any]]:
    """Return dotted key -> value in each run, for every key in which they differ; a key that a version added has its default."""
    configs = [dict(flat(_config(folder))) for folder in folders]
    keys = dict.fromkeys(key for config in configs for key in config)
    found = {key: [config.get(key, ABSENT) for config in configs] for key in keys}
    return {key: values for key, values in found.items() if key != "name" and any(value != values[0] for value in values)}


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    whole: dict[str, Any] = json.loads(file.read_text())
    model: type[GANRunConfig | ClassifierRunConfig] = GANRunConfig if "discriminator" in whole else ClassifierRunConfig
    try:
        return load_config(model, file).model_dump(mode="json")
    except UserError:  # a plug-in or a key of another version: as it is
        return whole


def _run_folder(folder: Path, name: str) -> Path:
    for path in (folder / name, Path(name)):
        if (path / "config.json").is_file():
            return path
    raise UserError(f"--diff {name}: neither {folder / name} nor {name} is the folder of a run")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
