"""The exception whose message is for the user: entry points print it as one sentence and exit with code 2."""

import contextlib
from collections.abc import Callable, Iterator


class UserError(ValueError):
    """The user's input is wrong; the message names the file, key or shape and the way out."""


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
