"""The exception whose message is meant for the user, and the first line of other exceptions for use in it."""


class RunError(Exception):
    """A run cannot continue. The message is one line: what, which value, what is allowed, what to do."""


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's message. Libraries append pages of their own state."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
