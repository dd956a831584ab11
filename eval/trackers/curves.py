"""The curves for a tracker: seconds of the timed calls, and every number over an option that runs vary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.records.canonical import canonical_json, flat_options
from eval.tables.spec import SECONDS


@dataclass(frozen=True)
class Curve:
    """Points of `y` over `x`, sorted by x; `title` is unique among the curves of a run."""

    title: str
    x: str
    y: str
    points: tuple[tuple[float, float], ...]


def numbers(record: Mapping) -> dict[str, float]:
    """Every metric that has a value, and time per image if it was measured."""
    found = {name: metric["value"] for name, metric in record["metrics"].items() if metric["value"] is not None}
    if record["timing"] is not None:
        found[SECONDS] = record["timing"][SECONDS]
    return found


def curves(record: Mapping, others: Sequence[Mapping]) -> tuple[Curve, ...]:
    """The curves of `record` itself, and one over each option that is the only difference to some of `others`."""
    return (*_of_calls(record), *_over_options(record, others))


def _of_calls(record: Mapping) -> list[Curve]:
    batches = [] if record["timing"] is None else record["timing"]["batches"]
    return [
        Curve(
            f"seconds of each call at batch {batch['batch_size']}",
            "call",
            "seconds",
            tuple((float(call), float(seconds)) for call, seconds in enumerate(batch["seconds"])),
        )
        for batch in batches
    ]


def _over_options(record: Mapping, others: Sequence[Mapping]) -> list[Curve]:
    own = flat_options(record["config"]["method"])
    found = []
    for option, value in own.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        alike = [other for other in others if _differs_in_alone(option, own, record, other)]
        by_value = {flat_options(one["config"]["method"])[option]: numbers(one) for one in (*alike, record)}
        if len(by_value) < 2:
            continue
        for name in numbers(record):
            points = tuple((float(x), by_value[x][name]) for x in sorted(by_value) if name in by_value[x])
            found.append(Curve(f"{name} over {option}", option, name, points))
    return found


def _differs_in_alone(option: str, own: Mapping, record: Mapping, other: Mapping) -> bool:
    if other["status"] == "failed" or other["method"] != record["method"]:
        return False
    theirs = flat_options(other["config"]["method"])
    value = theirs.get(option)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    same = canonical_json({**theirs, option: 0}) == canonical_json({**own, option: 0})
    backends = (other["config"]["backend"], record["config"]["backend"])
    return same and other["protocol_hash"] == record["protocol_hash"] and backends[0] == backends[1]
