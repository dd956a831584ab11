"""What a claim is: two methods, a metric, and the verdict that an interval of their difference gives.

Another kind of claim is a subclass in a file of its own that overrides `verdict`, such as eval/judging/no_worse.py.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
LOWER, HIGHER = "lower", "higher"


@dataclass(frozen=True)
class Claim:
    """`method` has a better `metric` than `against`. text: the claim in words.

    It is supported where the whole 95% interval of the difference is on its side of 0, contradicted where it is on the
    other, and undecided otherwise. better: which values of the metric are, "lower" or "higher".
    ValueError: `better` is neither, or a value is no text.
    """

    text: str
    method: str
    against: str
    metric: str
    better: str

    def __post_init__(self) -> None:
        for name in ("text", "method", "against", "metric"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"{name} must be a text, got {getattr(self, name)!r}")
        if self.better not in (LOWER, HIGHER):
            raise ValueError(f"better must be {LOWER} or {HIGHER}, got {self.better!r}")

    def gain(self, low: float, high: float) -> tuple[float, float]:
        """The ends of an interval of the difference, turned so that negative values are better."""
        return (low, high) if self.better == LOWER else (-high, -low)

    def verdict(self, low: float, high: float) -> str:
        """What the 95% interval of `method` minus `against` says of the claim."""
        low, high = self.gain(low, high)
        if high < 0:
            return SUPPORTED
        return CONTRADICTED if low > 0 else UNDECIDED

    def holds(self, ours: float, base: float) -> bool:
        """Whether the claim is true of two values without intervals, such as the paper's."""
        return ours < base if self.better == LOWER else ours > base


def check_names(text: str, own: Mapping[str, object], methods: Collection[str], metrics: Collection[str]) -> None:
    """ValueError where the options of a claim name a method or a metric that is none of these."""
    for key, known in (("method", methods), ("against", methods), ("metric", metrics)):
        if key in own and own[key] not in known:
            raise ValueError(f"claims.{text}: {key} must be one of {', '.join(known)}, got {own[key]!r}")
