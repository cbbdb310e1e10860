"""Numbers over time, through Accelerate's tracker interface: always as one JSON object a line in ``metrics.jsonl``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, TensorBoardTracker, get_available_trackers, on_main_process
from PIL import Image

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import Table, give
from gconv_gan.runtime.files.atomic import write_bytes
from gconv_gan.runtime.files.full_disk import writing


class JsonLinesTracker(GeneralTracker):  # type: ignore[misc]
    """Append ``{"images": step, …}`` to a file; a resumed run first removes the lines beyond its starting point."""

    name = "jsonl"
    requires_logging_directory = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def tracker(self) -> Path:
        """Return the file."""
        return self.path

    @on_main_process  # type: ignore[untyped-decorator]
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Do nothing: the config is in the run folder's ``config.json``."""

    @on_main_process  # type: ignore[untyped-decorator]
    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        """Append one line."""
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps({"images": step, **values}) + "\n")


def jsonl(*, folder: Path) -> JsonLinesTracker:
    """metrics.jsonl of the run folder.

    Returns the tracker that writes it.
    """
    return JsonLinesTracker(folder / "metrics.jsonl")


GROUPS = {
    "loss": "losses",
    "d_real": "logits",
    "d_fake": "logits",
    "d_held_out": "logits",
    "overfitting": "logits",
    "accuracy": "accuracy",
    "sign_real": "accuracy",
    "grad_norm": "gradients",
    "penalty": "regularisers",
    "consistency": "regularisers",
    "lecam": "regularisers",
    "augment_p": "augmentation",
    "gate": "gates",
    "learning_rate": "learning rates",
    "effective_learning_rate": "learning rates",
    "angular_update": "learning rates",
    "seconds_per_kimg": "speed",
    "peak_memory_gib": "speed",
}
"""Beginning of a number's name -> the group of its curve."""


def grouped(name: str) -> str:
    """Return the tag of a number, "group/name"; a name that has a group, as that of a score has, is its own tag."""
    if "/" in name:
        return name
    group = next((group for start, group in GROUPS.items() if name == start or name.startswith(f"{start}_")), "methods")
    return f"{group}/{name}"


class GroupedTensorBoard(TensorBoardTracker):  # type: ignore[misc]
    """TensorBoard with curves in groups, the config as hyper-parameters of the same run, and pictures.

    Attributes:
        images_seen: images seen at the start; later entries of an earlier process are hidden. Set before ``start``.

    """

    images_seen = 0
    writer: Any = None

    def __init__(self, folder: Path) -> None:
        super().__init__("events", folder)

    @on_main_process  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Open the event file."""
        self.init_kwargs = {"purge_step": self.images_seen + 1}
        super().start()

    @on_main_process  # type: ignore[untyped-decorator]
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Write the config as hyper-parameters; Accelerate's own would start a second run in a folder of its own."""
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(values, {}):  # type: ignore[no-untyped-call]
            self.writer.file_writer.add_summary(summary)
        self.writer.flush()

    @on_main_process  # type: ignore[untyped-decorator]
    def log(self, values: dict[str, Any], step: int | None = None, **keywords: Any) -> None:
        """Append one point to each curve."""
        super().log({grouped(name): value for name, value in values.items()}, step, **keywords)

    @on_main_process  # type: ignore[untyped-decorator]
    def log_images(self, values: dict[str, Any], step: int | None = None, **keywords: Any) -> None:
        """Append one picture to each tag; the arrays are [n, H, W, 3]."""
        super().log_images(values, step, dataformats="NHWC", **keywords)


def tensorboard(*, folder: Path) -> GroupedTensorBoard:
    """TensorBoard's event files, in events/ of the run folder.

    Returns the tracker that writes them.
    """
    return GroupedTensorBoard(folder)


def of_accelerate(*, name: str) -> str:
    """The service of this name through Accelerate; it needs the package of the service, and its settings are environment variables.

    Returns the name.

    Raises:
        UserError: Accelerate does not know it, or the package is not installed.

    """
    if name not in LOGGER_TYPE_TO_CLASS:
        raise UserError(f'trackers: the installed Accelerate does not know "{name}", only {", ".join(sorted(LOGGER_TYPE_TO_CLASS))}')
    if name not in map(str, get_available_trackers()):
        raise UserError(f'trackers: "{name}" needs a package that is not installed: pip install {name}, or leave it out of --trackers')
    return name


SERVICES = ("aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "trackio", "wandb")

TRACKERS = Table(
    "TRACKERS",
    {"jsonl": jsonl, "tensorboard": tensorboard, **{name: partial(of_accelerate, name=name) for name in SERVICES}},
    given=("folder",),
    fixed={name: ("name",) for name in SERVICES},
)
"""Trackers of a run's numbers. A row is given ``folder`` and returns a tracker, or the name of one of Accelerate's."""

ALWAYS = "jsonl"
"""The tracker that every run has, since a resumed run, galleries and the doctor read it."""


def build_trackers(folder: Path, names: Sequence[str]) -> list[GeneralTracker | str]:
    """Return the trackers of the run in ``folder`` for ``Accelerator(log_with=…)``: metrics.jsonl, and the rows ``names``.

    Raises:
        UserError: a row returns no tracker, or the name of one that is not installed.

    """
    found: list[GeneralTracker | str] = []
    known = [str(name) for name in get_available_trackers()]
    for kind in dict.fromkeys((ALWAYS, *names)):
        made = give(TRACKERS[kind], folder=folder)()
        if isinstance(made, str) and made not in known:
            raise UserError(f"TRACKERS[{kind!r}] asks Accelerate for {made!r}, which it does not know or whose package is not installed")
        if not isinstance(made, str | GeneralTracker):
            raise UserError(
                f"TRACKERS[{kind!r}] returns {type(made).__name__}, but a row returns an Accelerate tracker, or the name of one"
            )
        found.append(made)
    return found


def start_trackers(accelerator: Accelerator, config: Mapping[str, Any], *, images_seen: int) -> None:
    """Start the trackers of a run, and give them its config as flat hyper-parameters ("trainer.batch_size": 64)."""
    for tracker in accelerator.log_with:
        if isinstance(tracker, GroupedTensorBoard):
            tracker.images_seen = images_seen
    name = str(config["name"])
    named = {"wandb": {"name": name}, "trackio": {"name": name}, "swanlab": {"experiment_name": name}, "mlflow": {"run_name": name}}
    accelerator.init_trackers("gconv_gan", config=dict(flat(config)), init_kwargs=named)


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """Yield dotted key and value of every leaf; lists and None as text."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, bool | int | float | str) else json.dumps(value)


def log_picture(trackers: Sequence[GeneralTracker], path: Path, images_seen: int) -> None:
    """Send a PNG to every tracker that takes pictures."""
    taking = [tracker for tracker in trackers if hasattr(tracker, "log_images")]
    if taking:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))[None]
        for tracker in taking:
            tracker.log_images({"samples": pixels}, step=images_seen)


def truncate_metrics(path: Path, images: int) -> None:
    """Remove the lines of ``path`` after ``images``, and an incomplete last line.

    Raises:
        UserError: another line is damaged; no line is removed then.

    """
    if path.is_file():
        kept = [line for line, record in _lines(path) if record["images"] <= images]
        write_bytes(path, b"".join(line + b"\n" for line in kept))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl`` as dicts; an absent file has none.

    An incomplete last line is skipped: the run was killed while writing it, or is writing it now.

    Raises:
        UserError: another line is damaged.

    """
    return [record for _, record in _lines(path)] if path.is_file() else []


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return every complete line of a metrics file with its parsed content."""
    *lines, unfinished = path.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate([*lines, unfinished], 1):
        record = _record(line)
        if record is not None:
            found.append((line, record))
        elif number <= len(lines):
            raise UserError(f'{path}: line {number} is damaged (no JSON object with the number "images"): delete that line')
    return found


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the parsed content of a line; None if it is incomplete, that is, not a JSON object."""
    try:
        record = json.loads(line)
    except ValueError:  # UnicodeDecodeError is one
        return None
    return record if isinstance(record, dict) and isinstance(record.get("images"), int | float) else None
