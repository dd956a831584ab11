"""Numbers of the tables as the page sets them."""

from eval.tables.formats import interval as plain_interval
from eval.tables.formats import number


def typeset(text: str) -> str:
    """A number with a true minus and a multiplication sign."""
    return text.replace("-", "\N{MINUS SIGN}").replace("x", "\N{MULTIPLICATION SIGN}")


def rounded(column: str, value: float | None, sign: str = "") -> str:
    """A number of `column`, typeset; "" without one."""
    return typeset(number(column, value, sign))


def interval(column: str, low: float | None, high: float | None, sign: str = "") -> str:
    """A 95% interval in brackets, typeset; "" without one."""
    return typeset(plain_interval(column, low, high, sign))
