"""What speaks for a submission besides its own word: reported, reproduced, verified."""

from collections.abc import Mapping, Sequence

from eval.records.canonical import canonical_json
from eval.submissions.checks import Accepted
from eval.submissions.environment import environment

REPORTED, REPRODUCED, VERIFIED = "reported", "reproduced", "verified"
# Regenerated on another kind of processor, pixels differ by rounding, and a near tie of a method now and then decides
# otherwise: this share of the images must have no pixel value further off than CLOSE of 255.
CLOSE, CLOSE_SHARE = 2, 0.8


def badges(accepted: Accepted, others: Sequence[Accepted]) -> list[str]:
    """The badges of a submission among all that hold."""
    found = [REPORTED]
    if any(reproduces(other, accepted) for other in others):
        found.append(REPRODUCED)
    if accepted.submission.verified is not None and holds(accepted.submission.verified):
        found.append(VERIFIED)
    return found


def reproduces(other: Accepted, accepted: Accepted) -> bool:
    """Whether `other` is the same row by another party or environment, each within the other's intervals."""
    ours, theirs = accepted.submission, other.submission
    if ours is theirs or other.protocol.name != accepted.protocol.name or _row(ours.record) != _row(theirs.record):
        return False
    apart = environment(ours.record) != environment(theirs.record)
    apart |= ours.method["submitted_by"] != theirs.method["submitted_by"]
    metrics = [one.record["metrics"] for one in (ours, theirs)]
    return apart and within(*metrics) and within(*reversed(metrics))


def within(values: Mapping, metrics: Mapping) -> bool:
    """Whether every metric with an interval has a value in `values` inside it; there must be one."""
    intervals = {name: metric["interval"] for name, metric in metrics.items() if metric["interval"] is not None}
    found = {name: (values.get(name) or {}).get("value") for name in intervals}
    inside = [found[name] is not None and low <= found[name] <= high for name, (low, high) in intervals.items()]
    return bool(inside) and all(inside)


def holds(verified: Mapping) -> bool:
    """Whether regenerated images are the submitted ones: the same pixels, or close on other hardware."""
    return verified["close"] >= CLOSE_SHARE * verified["images"]


def _row(record: Mapping) -> str:
    """The same method, options, backend and reference; seconds and hardware aside."""
    config = record["config"]
    return canonical_json([config["method"], config["backend"], record["protocol"]["reference_hash"]])
