"""Curves over an option: records that differ in the value of one number of their method, and in nothing else."""

from dataclasses import dataclass

from eval.records.canonical import canonical_json, flat_options
from eval.report.gather import Entry, Gathered


@dataclass(frozen=True)
class Curve:
    """Rows of one method, by rising value of `option`; `name` tells the curves over one option apart."""

    option: str
    name: str
    values: tuple[float, ...]
    entries: tuple[Entry, ...]


def curves(gathered: Gathered) -> dict[str, list[Curve]]:
    """By option, every set of two or more finished rows that differ in it alone."""
    sets: dict[tuple[str, str], dict[float, Entry]] = {}
    for entry in gathered.swept:
        record = entry.line.record
        if record is None or record["status"] == "failed":
            continue
        options = flat_options(record["config"]["method"])
        for option, value in options.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            rest = {name: other for name, other in options.items() if name != option}
            alike = canonical_json([rest, record["config"].get("backend"), record["protocol"]])
            # Of rows that are the same in all that counts the first stands: the paper's own.
            sets.setdefault((option, alike), {}).setdefault(value, entry)
    found: dict[str, list[Curve]] = {}
    for (option, _), by_value in sets.items():
        if len(by_value) > 1:
            values = tuple(sorted(by_value))
            entries = tuple(by_value[value] for value in values)
            found.setdefault(option, []).append(Curve(option, _name(entries), values, entries))
    return found


def _name(entries: tuple[Entry, ...]) -> str:
    """The shortest of the rows' names: that of the row that departs least from the shipped options."""
    return min((entry.label for entry in entries), key=len)
