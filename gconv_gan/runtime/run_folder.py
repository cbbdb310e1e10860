"""The folder of a run: its config, the versions of libraries, and its results.

``config.json`` is the resolved config. A run does not start in a folder with another config; the message lists the
differences. Only cadence and evaluation may change, and the length if the schedule does not depend on it. A key that the folder's config
lacks, because a later version added it, counts as its default.
"""

import importlib.metadata
import json
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import PLUGINS, load_config
from gconv_gan.config.plugins import COPIES, copies_of, copy_of, hashes_of
from gconv_gan.config.schema import PartConfig, flagged
from gconv_gan.runtime.device import device_name
from gconv_gan.runtime.files.atomic import require_possible_folder, write_bytes, write_text
from gconv_gan.runtime.files.full_disk import writing
from gconv_gan.runtime.files.locking import exclusive

# keys that do not change the numbers a run produces
MAY_CHANGE = (
    "name",
    "runs_dir",
    "plugins",  # plug-ins are compared by their hashes
    "evaluation",
    "trackers",
    "trainer.engine",
    "trainer.measure",  # a run keeps what was measured at its start
    "trainer.log_every",
    "trainer.sample_every",
    "trainer.checkpoint_every",
    "trainer.keep_checkpoints",
    "data.cache_dir",
    # location of the data; their content hash is compared instead
    "data.path",
    "data.download",
    "data.damaged",
    "data.storage",
    "data.resident",
)
LOCK = ".lock"
WRITTEN_BY_A_START = frozenset(
    {LOCK, "config.json", "command.txt", "versions.json", PLUGINS, COPIES, "samples", "scores", "methods", "events"}
)
VERSIONED = ("torch", "torchvision", "accelerate", "numpy", "safetensors", "gconv_gan")


class RunFolder:
    """``runs_dir/name`` and the paths inside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples"
        self.scores = path / "scores"
        self.methods = path / "methods"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder within the body; raise ``UserError`` if another run holds the lock.

        If the body created the folder and ends in an exception, the folder is removed unless it holds more than the files of a start.
        """
        new = not self.path.exists()
        with self._lock():
            try:
                yield
            except BaseException:
                if new and {path.name for path in self.path.iterdir()} <= WRITTEN_BY_A_START:
                    shutil.rmtree(self.path, ignore_errors=True)
                raise

    def _lock(self) -> AbstractContextManager[None]:
        return exclusive(self.path / LOCK, purpose=f"training in {self.path}", wait=False)

    def _earlier(self, model: type[Config]) -> Any:
        """Return the folder's config; a key that this version has added has its default, with which a run behaves as before."""
        try:
            return load_config(model, self.config).model_dump(mode="json")
        except UserError as unreadable:
            try:
                return json.loads(self.config.read_text())
            except json.JSONDecodeError:
                raise unreadable from None

    def require_startable(self, config: Config, *, may_change: tuple[str, ...] = MAY_CHANGE) -> None:
        """Check, without writing, that ``config`` may be trained in the folder now.

        Raises:
            UserError: there can be no such folder, another process trains in it, or it holds a run with other hyper-parameters.

        """
        require_possible_folder(self.path, "--runs-dir and --name:")
        if (self.path / LOCK).exists():
            with self._lock():
                pass
        self._require_same(config, may_change)
        self._require_same_plugins(config)

    def prepare(self, config: Config, *, may_change: tuple[str, ...] = MAY_CHANGE) -> None:
        """Create the folder and write config, command and versions, or check that the folder's config is the same.

        Raises:
            UserError: the folder holds a run with other hyper-parameters; the message lists each difference.

        """
        self._require_same(config, may_change)
        self._require_same_plugins(config)
        self.samples.mkdir(parents=True, exist_ok=True)
        keep_plugins(self.path, getattr(config, "plugins", ()))
        self.scores.mkdir(exist_ok=True)
        write_text(self.config, json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
        with writing(self.path), (self.path / "command.txt").open("a") as file:
            file.write(shlex.join(sys.argv) + "\n")
        write_text(self.path / "versions.json", json.dumps({**versions(), "device": device_name()}, indent=2) + "\n")

    def _require_same(self, config: Config, may_change: tuple[str, ...]) -> None:
        """Raise ``UserError`` listing the differences where the folder holds a run with other hyper-parameters."""
        resolved = config.model_dump(mode="json")
        if self.config.is_file():
            earlier = self._earlier(type(config))
            if not ends_with_the_run(config):
                may_change = (*may_change, "trainer.total_images")
            differences = [text for key, text in differing(earlier, resolved) if not _allowed(key, may_change)]
            if differences:
                raise UserError(
                    f"{self.path} holds a run with other settings: {'; '.join(differences)}. Restore the old values, or give a new --name"
                )

    def _require_same_plugins(self, config: Config) -> None:
        """Raise ``UserError`` where the folder's run had other plug-ins than ``config``."""
        hashes = hashes_of(getattr(config, "plugins", ()))
        kept = self.path / PLUGINS
        earlier: dict[str, str] = json.loads(kept.read_text()) if kept.is_file() else {}
        if self.config.is_file() and sorted(earlier.values()) != sorted(hashes.values()):
            changed = [name for name in hashes if hashes[name] not in earlier.values()] or list(earlier)
            copies = [copy for sha in earlier.values() if sha not in hashes.values() and (copy := copy_of(self.path, sha)) is not None]
            place = f", from {' or '.join(map(str, copies))}" if copies else ""
            raise UserError(
                f"{self.path} holds a run with other plug-ins: {', '.join(changed)} changed since. Restore the file{place}, or give a new "
                "--name"
            )


def keep_plugins(folder: Path, names: Sequence[str], called: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write the hashes of loaded plug-ins, by name or as they are ``called``, and a copy of each, into the folder of a run or an export."""
    if not names:
        return
    write_text(folder / PLUGINS, json.dumps({called.get(name, name): sha for name, sha in hashes_of(names).items()}, indent=2) + "\n")
    (folder / COPIES).mkdir(exist_ok=True)
    for file, content in copies_of(names).items():
        write_bytes(folder / COPIES / file, content)


def ends_with_the_run(config: Config) -> bool:
    """Return whether a schedule within ``config`` ends at the end of the run, so that another length changes the run."""
    if isinstance(config, PartConfig):
        return flagged(config, "ends_with_the_run", "") is not None
    values = (getattr(config, name) for name in type(config).model_fields)
    return any(ends_with_the_run(value) for value in values if isinstance(value, Config))


def _allowed(key: str, may_change: tuple[str, ...]) -> bool:
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in may_change)


def differing(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, "key: old -> new") for every leaf that differs, added and removed keys included."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from differing(old.get(name, "absent"), new.get(name, "absent"), f"{key}.{name}" if key else name)
    elif old != new:
        yield key, f"{key}: {json.dumps(old)} -> {json.dumps(new)}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries on which a run's numbers depend."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
