"""The exception whose message is meant for the user, and the first line of other exceptions for use in it."""


class RunError(Exception):
    """A run cannot continue. The message is one line: what, which value, what is allowed, what to do.

    A bad value of a configuration is a ValueError of its dataclass. The command line prints both as one line,
    `error: ...`, and exits with 1. Any other exception is a bug and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's message. Libraries append pages of their own state."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
