"""Plug-ins: files or modules of a user that add rows to the tables before the config is read."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import DERIVATION, PARTS

_LOADED: dict[str, str] = {}
"""Loaded plug-ins: name given by the user -> SHA-256 of the file."""


def loaded_plugins() -> tuple[str, ...]:
    """Return the loaded plug-ins, in order: files by their absolute paths, modules by their names."""
    return tuple(_LOADED)


def take_plugins(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the plug-ins of ``--plugins mine.py other_pkg.parts`` in a command line, and the other arguments.

    Raises:
        UserError: the flag has no value.

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
    """Check that the plug-ins of a saved config are loaded: reading a run imports only plug-ins that the user names.

    Args:
        names: ``plugins`` of the config.
        hashes: the SHA-256 of each when the config was saved; a plug-in counts as loaded if a file with this hash was loaded.
        source: the config, for the message.

    Raises:
        UserError: one was not loaded, or its file has changed.

    """
    for name in names:
        sha = hashes.get(name)
        if sha in _LOADED.values() or (sha is None and name in _LOADED):
            continue
        said = f" (SHA-256 {sha[:12]}…)" if sha else ""
        if _named(name) in _LOADED:
            raise UserError(f"{source} was made with {name}{said}, which has changed since: restore that file")
        raise UserError(f"{source} was made with {name}{said}: give --plugins {name}")


def hashes_of(names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each of these loaded plug-ins."""
    return {name: _LOADED[_named(name)] for name in names}


def _named(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith(".py") else name


def load_plugins(names: Sequence[str]) -> dict[str, str]:
    """Import files (``mine.py``) and modules (``other_pkg.parts``), each once, and return the SHA-256 of all loaded plug-ins.

    A file is imported under a unique name, and its folder is not added to ``sys.path``, so that a file random.py does not hide Python's.

    Raises:
        UserError: there is no such file or module, it cannot be imported, or one of its rows cannot be added.

    """
    if names:
        importlib.import_module(PARTS)
    with DERIVATION:  # another thread that loads the same file waits, instead of adding its rows again
        for name in names:
            _load(name)
        return dict(_LOADED)


def _load(name: str) -> None:
    key = _named(name)
    path = Path(key) if name.endswith(".py") else None
    if key in _LOADED:
        return
    if path is not None and not path.is_file():
        raise UserError(f"plugins: {name} does not exist")
    try:
        source = _import_file(path) if path is not None else _import_module(name)
    except UserError as error:
        raise UserError(f"plugins: {name}: {error}") from error
    except Exception as error:
        raise UserError(f"plugins: {name} cannot be imported: {type(error).__name__}: {error}") from error
    _LOADED[key] = hashlib.sha256(source.read_bytes()).hexdigest()


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
