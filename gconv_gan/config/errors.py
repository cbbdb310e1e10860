"""The exceptions whose message is for the user: commands print it as one sentence and exit with the code named here."""

import contextlib
import signal
from collections.abc import Callable, Iterator


class UserError(ValueError):
    """The user's input is wrong; the message names the file, key or shape and the way out. Exit code 2."""


class AbsentDataError(UserError):
    """The data set does not lie where it was looked for; it could be fetched there."""


@contextlib.contextmanager
def reworded(wording: Callable[[str], str]) -> Iterator[None]:
    """Pass the message of a ``UserError`` from inside through ``wording``.

    The package of data sets names the keys of a section [data]; a command may have another section, or flags, for them.
    """
    try:
        yield
    except UserError as error:
        message = wording(str(error))
        if message == str(error):
            raise
        raise type(error)(message) from error


class GuardError(RuntimeError):
    """A command had to stop; nothing that was finished before is damaged. Exit code 3."""


class FullDiskError(GuardError):
    """No space is left where a file was to be written."""


class StoppedBySignalError(Exception):
    """A signal ended the run after it was saved. Exit code 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after saving")
        self.number = number
