"""Plug-ins: files or modules of the user's that add rows to the tables before the config is read."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import PARTS

_LOADED: dict[str, str] = {}
"""What was loaded, as the user named it -> SHA-256 of its file."""


def loaded_plugins() -> tuple[str, ...]:
    """Return the plug-ins that were loaded, in order: files by their absolute paths, modules by their names."""
    return tuple(_LOADED)


def take_plugins(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what ``--plugins mine.py other_pkg.parts`` names in a command line, and the other arguments.

    Raises:
        UserError: the flag names nothing.

    """
    names: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        flag, equals, value = argument.partition("=")
        if flag != "--plugins":
            rest.append(argument)
            continue
        found = [value] if equals else []
        while not equals and waiting and not waiting[0].startswith("-"):
            found.append(waiting.pop(0))
        if not any(found):
            raise UserError("command line: --plugins needs files or modules, such as mine.py")
        names += found
    return names, rest


def require_loaded(names: Sequence[str], hashes: Mapping[str, str], source: str) -> None:
    """Check that the plug-ins that a saved config names were loaded: reading a run imports nothing that its reader did not name.

    Args:
        names: what ``plugins`` of the config says.
        hashes: the SHA-256 of each when the config was saved; a plug-in counts as loaded where a file with this hash was.
        source: the config, for the message.

    Raises:
        UserError: one was not loaded, or is another file now.

    """
    for name in names:
        sha = hashes.get(name)
        if sha in _LOADED.values() or (sha is None and name in _LOADED):
            continue
        said = f" (SHA-256 {sha[:12]}…)" if sha else ""
        if _named(name) in _LOADED:
            raise UserError(f"{source} was made with {name}{said}, which has changed since: give that file back")
        raise UserError(f"{source} was made with {name}{said}: give --plugins {name}")


def hashes_of(names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each of these loaded plug-ins."""
    return {name: _LOADED[_named(name)] for name in names}


def _named(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith(".py") else name


def load_plugins(names: Sequence[str]) -> dict[str, str]:
    """Import files (``mine.py``) and modules (``other_pkg.parts``), each once, and return the SHA-256 of all that were ever loaded.

    A file is imported under a name of its own, and its folder stays off ``sys.path``: a file called random.py must not hide Python's.

    Raises:
        UserError: there is no such file or module, it cannot be imported, or a row of its cannot be added.

    """
    if names:
        importlib.import_module(PARTS)
    for name in names:
        key = _named(name)
        path = Path(key) if name.endswith(".py") else None
        if key in _LOADED:
            continue
        if path is not None and not path.is_file():
            raise UserError(f"plugins: {name} does not exist")
        try:
            source = _import_file(path) if path is not None else _import_module(name)
        except UserError as error:
            raise UserError(f"plugins: {name}: {error}") from error
        except Exception as error:
            raise UserError(f"plugins: {name} cannot be imported: {type(error).__name__}: {error}") from error
        _LOADED[key] = hashlib.sha256(source.read_bytes()).hexdigest()
    return dict(_LOADED)


def _import_file(path: Path) -> Path:
    name = f"gconv_gan_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickles find classes by the module's name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return path


def _import_module(name: str) -> Path:
    module = importlib.import_module(name)
    if module.__file__ is None:
        raise UserError("a module without a file cannot be a plug-in")
    return Path(module.__file__)
