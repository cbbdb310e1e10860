"""The exception whose message is for the user: entry points print it as one sentence and exit with code 2."""


class UserError(ValueError):
    """The user's input is wrong; the message names the file, key or shape and the way out."""


class AbsentDataError(UserError):
    """The data set does not lie where it was looked for; it could be fetched there."""
