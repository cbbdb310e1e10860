"""Plug-ins: files or modules of a user that add rows to the tables before the config is read."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import DERIVATION, PARTS

COPIES = "plugins"
"""Folder beside a saved config: a copy of the file of each plug-in."""


class Plugin(NamedTuple):
    """A loaded plug-in: the name of its copies, and the bytes of its file."""

    copy: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Return the hash of the file, by which plug-ins are compared."""
        return hashlib.sha256(self.content).hexdigest()


_LOADED: dict[str, Plugin] = {}
"""Loaded plug-ins, by their absolute paths or the names of their modules."""


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


def require_loaded(names: Sequence[str], hashes: Mapping[str, str], source: Path) -> list[str]:
    """Check that the plug-ins of a saved config are loaded: reading a run imports only plug-ins that the user names.

    Args:
        names: ``plugins`` of the config.
        hashes: the SHA-256 of each when the config was saved; a plug-in counts as loaded if a file with this hash was loaded.
        source: the config; the folder ``plugins`` beside it may hold copies.

    Returns:
        The names under which they are loaded: other ones where a copy, or a file that has moved, was loaded.

    Raises:
        UserError: one was not loaded; the message names its file, or its copy where the file is absent or has changed.

    """
    return [_loaded_name(name, hashes.get(name), source) for name in names]


def _loaded_name(name: str, sha: str | None, source: Path) -> str:
    here = _LOADED.get(_named(name))
    if here is not None and sha in (None, here.sha256):
        return name
    alike = next((key for key, plugin in _LOADED.items() if plugin.sha256 == sha), None)
    if alike is not None:
        return alike
    made = f"{source} was made with {name}{f' (SHA-256 {sha[:12]}…)' if sha else ''}"
    file = Path(name) if name.endswith(".py") else None
    changed = here is not None or (file is not None and file.is_file() and sha not in (None, hashlib.sha256(file.read_bytes()).hexdigest()))
    copy = copy_of(source.parent, sha)
    if copy is not None and (changed or (file is not None and not file.is_file())):
        raise UserError(f"{made}, which {'has changed since' if changed else 'is not there'}: read its copy, and give --plugins {copy}")
    raise UserError(f"{made}, which has changed since: restore that file" if changed else f"{made}: give --plugins {name}")


def copy_of(folder: Path, sha: str | None) -> Path | None:
    """Return the copy of the plug-in with this hash in the folder of a run or an export; None where there is none."""
    found = sorted((folder / COPIES).glob("*.py"))
    return next((path for path in found if hashlib.sha256(path.read_bytes()).hexdigest() == sha), None)


def hashes_of(names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each of these loaded plug-ins."""
    return {name: _LOADED[_named(name)].sha256 for name in names}


def copies_of(names: Sequence[str]) -> dict[str, bytes]:
    """Return file name -> bytes of the copies of these loaded plug-ins; of two files of one name, the second has its hash in it."""
    found: dict[str, bytes] = {}
    for plugin in (_LOADED[_named(name)] for name in names):
        taken = found.get(plugin.copy, plugin.content) != plugin.content
        found[f"{plugin.copy.removesuffix('.py')}_{plugin.sha256[:8]}.py" if taken else plugin.copy] = plugin.content
    return found


def names_in_copy(names: Sequence[str]) -> dict[str, str]:
    """Return each of these loaded plug-ins -> the name it has in a folder that is given away: that of its copy, if its path is absolute."""
    files = {hashlib.sha256(content).hexdigest(): file for file, content in copies_of(names).items()}
    placed = {name: Path(name).expanduser().is_absolute() or ".." in Path(name).parts for name in names}
    return {name: files[_LOADED[_named(name)].sha256] if name.endswith(".py") and placed[name] else name for name in names}


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
        return {key: plugin.sha256 for key, plugin in _LOADED.items()}


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
    _LOADED[key] = Plugin(source.name if path is not None else f"{name}.py", source.read_bytes())


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
