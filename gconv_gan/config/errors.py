"""Exceptions with a message for the user: commands print it as one sentence and exit with the code given here."""

import contextlib
import signal
from collections.abc import Callable, Iterator


class UserError(ValueError):
    """The user's input is wrong; the message names the file, key or shape and how to correct it. Exit code 2."""


class AbsentDataError(UserError):
    """The data set is not at the given path; it may be downloaded."""


@contextlib.contextmanager
def reworded(wording: Callable[[str], str]) -> Iterator[None]:
    """Apply ``wording`` to the message of a ``UserError`` raised within the body.

    Messages of the data package name keys of a section [data]; a command may have another section, or flags, for them.
    """
    try:
        yield
    except UserError as error:
        message = wording(str(error))
        if message == str(error):
            raise
        raise type(error)(message) from error


class GuardError(RuntimeError):
    """A guard stopped a command; results completed before are intact. Exit code 3."""


class FullDiskError(GuardError):
    """The disk of a file to be written is full."""


class StoppedBySignalError(Exception):
    """A signal ended the run after it was saved. Exit code 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after saving")
        self.number = number
