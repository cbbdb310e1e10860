"""What a mistyped word was probably meant to be."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import get_args


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'X'?" for the nearest of ``known``, or nothing where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def check_choice(name: str, value: object, choices: object) -> None:
    """Check a value against the ``Literal`` that annotates it, for constructors that are called from Python.

    Raises:
        ValueError: naming the argument, the value, what is admitted, and the nearest of these.

    """
    admitted = get_args(choices)
    if value not in admitted:
        raise ValueError(f"{name} = {value!r} is not among {', '.join(map(str, admitted))}{did_you_mean(str(value), map(str, admitted))}")


def does_not_exist(path: Path) -> str:
    """Say that there is nothing at ``path``, and what lies beside it under a similar name."""
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"{path} does not exist" + (f"; did you mean {path.parent / near[0]}?" if near else "")
