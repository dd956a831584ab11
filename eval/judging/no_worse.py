"""The claim that a method is no worse than another, such as no slower: it holds at equality."""

from dataclasses import dataclass

from eval.judging.claim import LOWER, SUPPORTED, Claim


@dataclass(frozen=True)
class NoWorse(Claim):
    """`method` has no worse `metric` than `against`: also supported where the better end of 0 is 0 itself."""

    def verdict(self, low: float, high: float) -> str:
        """As of `Claim`; a difference of exactly 0 supports it."""
        return SUPPORTED if self.gain(low, high)[1] <= 0 else super().verdict(low, high)

    def holds(self, ours: float, base: float) -> bool:
        """Whether it is true of two values; equal ones included."""
        return ours <= base if self.better == LOWER else ours >= base
