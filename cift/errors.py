"""The one error that a user's own input can cause, and the kind of it that searches expect."""


class InputError(ValueError):
    """Input that cannot be meant.

    The message names the file, the row or column, the value and the remedy, and is all a user
    sees: the command line prints it and exits with code 2, without a traceback.
    """


class Diverged(InputError):
    """Training ended in numbers that are not finite: with these settings, this is what comes of it."""
