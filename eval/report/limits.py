"""How much of many rows the page shows. It stays under 15 MB and reports what it leaves out."""

from collections.abc import Sequence
from typing import TypeVar

PAGE = 14_000_000  # bytes of the page with its images, less the text around these
IMAGES = 11_000_000  # characters of the images' data URIs, at most
LEAST = 500_000  # of them at least, however much the rest takes
RECORDS = 3_000_000  # characters of whole records
COLUMNS = 24  # rows with images
NAMED = 30  # rows with a mark and a name of their own in a figure
CURVES = 20  # curves of one option

Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of `items`, evenly over them, in their order."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def few(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of `items`: the first half of these as they come (the paper's rows), the others spread evenly."""
    half = count // 2
    return [*items[:half], *spread(items[half:], count - half)]
