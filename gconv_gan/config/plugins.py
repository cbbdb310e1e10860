"""Plug-ins: files or modules of the user's that add rows to the tables before the config is read."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import PARTS

_LOADED: dict[str, str] = {}
"""What was loaded, as the user named it -> SHA-256 of its file."""


def loaded_plugins() -> tuple[str, ...]:
    """Return the plug-ins that were loaded, in order: files by their absolute paths, modules by their names."""
    return tuple(_LOADED)


def load_plugins(names: Sequence[str]) -> dict[str, str]:
    """Import files (``mine.py``) and modules (``other_pkg.parts``), each once, and return the SHA-256 of all that were ever loaded.

    A file is imported under a name of its own, and its folder stays off ``sys.path``: a file called random.py must not hide Python's.

    Raises:
        UserError: there is no such file or module, it cannot be imported, or a row of its cannot be added.

    """
    importlib.import_module(PARTS)
    for name in names:
        path = Path(name).resolve() if name.endswith(".py") else None
        key = str(path or name)
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
