"""The ImageNet class of each row of a table, from its column `wnid` or `label`.

The first rule that applies decides:
1. A column `wnid` contains WordNet ids. It takes precedence over `label`.
2. A `label` whose values have names (a ClassLabel feature, or strings) is mapped by these names. A name is a wnid, or
   that of an ImageNet-1k class: its synonyms ("tench, Tinca tinca"), OpenAI's cleaned name, or the first synonym. Rows
   of a wnid outside of ImageNet-1k are ignored. Any other name is an error.
3. 1,000 names in ImageNet's order, with a few spelled differently, are ImageNet's own numbering.
4. Integers without names are read as ImageNet-1k's index only if that is the one possible reading: all are in [0, 999].
   If the file names contain wnids (n01440764_36.JPEG), these must agree. If not, the labels must not be 2 to 999
   consecutive numbers from 0 or 1, since a subset numbers its own classes that way.
Rows without a label (null or -1, as in a test split) belong to no class. A column without any label is an error.
"""

import functools
import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from eval.errors import RunError
from eval.generation.prompts import NUM_CLASSES, imagenet_classes

WNID = re.compile(r"^n\d{8}$")
_WNID_IN_NAME = re.compile(r"(?<![A-Za-z0-9])n\d{8}(?!\d)")
_MOST = 900  # of 1,000 names that must be at their own position
_HINT = "add a column wnid with WordNet ids such as n01440764"

_log = logging.getLogger(__name__)


def classes_of_rows(rows: Any, files: Sequence[str | None], wnids: Mapping[str, int], source: str) -> list[int | None]:
    """The class index of each row, or None for a row of a class outside `wnids` (wnid -> index).

    rows: a `datasets` table with a column wnid or label; files: the original file names. RunError: the classes of the
    labels cannot be determined by the rules at the top of this file.
    """
    column = "wnid" if "wnid" in rows.column_names else "label"
    values = rows.data.column(column).to_pylist()
    names = _names(rows.features[column], values, f"reference {source}, column {column}")
    if names is None:
        table: Mapping[Any, int | None] = _by_index(values, files, source)
    else:
        table = _by_name(names, source, column)
    _report_unlabelled(values, source, column)
    wanted = set(wnids.values())
    return [table.get(value) if table.get(value) in wanted else None for value in values]


def _names(feature: Any, values: list, where: str) -> dict[Any, str] | None:
    """The name of each value of a column; None for integers without names. RunError for other types."""
    named = getattr(feature, "names", None)
    # ClassLabel(num_classes=1000) names its classes "0", "1", ...: these are not names.
    if named and list(named) != [str(number) for number in range(len(named))]:
        outside = [value for value in values if value is not None and not -1 <= value < len(named)]
        if outside:
            raise RunError(f"{where}: {outside[0]} is outside of its {len(named)} named classes; write the table again")
        return dict(enumerate(named))
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return {value: value for value in values if value is not None}
    if kinds != {int}:
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise RunError(f"{where} must contain integers or names of classes, got {found}; {_HINT}")
    return None


def _by_name(names: Mapping[Any, str], source: str, column: str) -> dict[Any, int | None]:
    found = {value: _indices(name) for value, name in names.items()}
    certain = {value: next(iter(indices)) for value, indices in found.items() if len(indices) == 1}
    own = [value for value, index in certain.items() if value == index]
    if len(names) == NUM_CLASSES and len(own) == len(certain) >= _MOST:
        return {value: value for value in names}
    for value, name in names.items():
        if value not in certain and not WNID.match(name):
            raise RunError(_unlabelled(name, found[value], source, column))
    return {value: certain.get(value) for value in names}


def _unlabelled(name: str, indices: frozenset[int], source: str, column: str) -> str:
    classes = [imagenet_classes()[index] for index in sorted(indices)]
    if not classes:
        why = "which is not an ImageNet-1k class"
    else:
        why = f"the name of several ImageNet-1k classes ({', '.join(item.wnid for item in classes)})"
    return f"reference {source}, column {column}: a class is named {name!r}, {why}; {_HINT}"


def _by_index(values: list, files: Sequence[str | None], source: str) -> dict[int, int | None]:
    present = sorted(set(values) - {None, -1})
    where = f"reference {source}, column label"
    if not present:
        return {}
    if present[0] < 0 or present[-1] >= NUM_CLASSES:
        wrong = present[0] if present[0] < 0 else present[-1]
        raise RunError(f"{where}: {wrong} is not an index of ImageNet-1k (0 to {NUM_CLASSES - 1}); {_HINT}")
    seen = _wnids_in(files)
    if any(seen):
        _check_against(seen, values, where)
    elif present[0] <= 1 < len(present) == present[-1] - present[0] + 1 < NUM_CLASSES:
        raise RunError(
            f"{where}: the numbers {present[0]} to {present[-1]} have no names and may be ImageNet's index or the "
            f"numbering of a subset; {_HINT}"
        )
    return {index: index for index in present}


def _wnids_in(files: Sequence[str | None]) -> list[str | None]:
    found = (_WNID_IN_NAME.search(name) if name else None for name in files)
    return [match.group() if match else None for match in found]


def _check_against(seen: Sequence[str | None], values: list, where: str) -> None:
    known = {item.wnid: item.index for item in imagenet_classes()}
    for wnid, value in zip(seen, values, strict=True):
        if wnid is not None and value is not None and value != -1 and known.get(wnid) != value:
            own = f"whose index in ImageNet-1k is {known[wnid]}" if wnid in known else "which is not in ImageNet-1k"
            raise RunError(f"{where}: {value} labels an image of {wnid}, {own}; {_HINT}")


def _report_unlabelled(values: list, source: str, column: str) -> None:
    absent = sum(value is None or value == -1 for value in values)
    if values and absent == len(values):
        raise RunError(
            f"reference {source} has no labels: column {column} is -1 or null in all {absent} rows, as in a test "
            "split; use a split with labels"
        )
    if absent:
        _log.warning("Reference %s: %d of %d rows have no label and are left out.", source, absent, len(values))


def _indices(name: str) -> frozenset[int]:
    """The classes that a name may mean: a wnid's, or those of the first list below that contains the name."""
    text = " ".join(name.replace("_", " ").split())
    for table, key in zip(_known_names(), (text, text, text, text.casefold(), text.casefold()), strict=True):
        if key in table:
            return table[key]
    return frozenset()


@functools.cache
def _known_names() -> tuple[dict[str, frozenset[int]], ...]:
    """Names to indices: wnids, all synonyms and OpenAI's names, first synonyms; as written, then in lower case."""
    wordnet, cleaned = imagenet_classes("wordnet"), imagenet_classes("openai")
    first = [(item.name.partition(",")[0], item.index) for item in wordnet]
    whole = [(item.name, item.index) for item in (*wordnet, *cleaned)]
    ids = [(item.wnid, item.index) for item in cleaned]
    folded = [[(name.casefold(), index) for name, index in pairs] for pairs in (whole, first)]
    return tuple(map(_collect, (ids, whole, first, *folded)))


def _collect(pairs: Sequence[tuple[str, int]]) -> dict[str, frozenset[int]]:
    found: defaultdict[str, set[int]] = defaultdict(set)
    for name, index in pairs:
        found[name].add(index)
    return {name: frozenset(indices) for name, indices in found.items()}
