"""The one exception of the harness that a user is meant to read, and what of other exceptions fits in its sentence."""


class RunError(Exception):
    """A run cannot go on. The message is one sentence: what, which value, what is allowed, what to do."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something: libraries put pages of their own state after it."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
