"""The one exception of the harness that a user is meant to read."""


class RunError(Exception):
    """A run cannot go on. The message is one sentence: what, which value, what is allowed, what to do."""
