"""Kinds of claims: the verdict of an interval, and what is refused."""

from dataclasses import dataclass

import pytest

from eval.judging.claim import Claim, check_names
from eval.judging.no_worse import NoWorse


@pytest.mark.parametrize(
    ("low", "high", "lower", "higher"),
    [
        (-2.0, -1.0, "supported", "contradicted"),
        (1.0, 2.0, "contradicted", "supported"),
        (-1.0, 1.0, "undecided", "undecided"),
        (-1.0, 0.0, "undecided", "undecided"),
    ],
)
def test_a_whole_interval_on_one_side_decides(low: float, high: float, lower: str, higher: str) -> None:
    for better, verdict in (("lower", lower), ("higher", higher)):
        assert Claim("a beats b", "a", "b", "fid", better).verdict(low, high) == verdict


def test_no_worse_holds_at_equality() -> None:
    claim = NoWorse("a is no slower than b", "a", "b", "s_per_im", "lower")
    found = [claim.verdict(*ends) for ends in ((-1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (0.5, 1.0))]
    assert found == ["supported", "supported", "undecided", "contradicted"]
    assert claim.holds(2.0, 2.0)
    assert not Claim("a is faster than b", "a", "b", "s_per_im", "lower").holds(2.0, 2.0)


def test_another_kind_has_options_of_its_own() -> None:
    @dataclass(frozen=True)
    class Within(Claim):
        margin: float

        def verdict(self, low: float, high: float) -> str:
            return "supported" if -self.margin <= low <= high <= self.margin else "undecided"

    assert Within("a is as good as b", "a", "b", "fid", "lower", margin=2.0).verdict(-1.0, 1.5) == "supported"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"better": "less"}, "better must be lower or higher, got 'less'"),
        ({"method": 3}, "method must be a text, got 3"),
        ({"text": ""}, "text must be a text, got ''"),
    ],
)
def test_bad_values_are_refused(changes: dict, message: str) -> None:
    good = {"text": "a beats b", "method": "a", "against": "b", "metric": "fid", "better": "lower"}
    with pytest.raises(ValueError, match=f"^{message}$"):
        Claim(**{**good, **changes})


def test_names_that_do_not_exist_are_refused() -> None:
    check_names("a beats b", {"method": "a", "against": "b"}, ["a", "b"], ["fid"])
    with pytest.raises(ValueError, match=r"^claims\.a beats b: against must be one of a, b, got 'c'$"):
        check_names("a beats b", {"method": "a", "against": "c"}, ["a", "b"], ["fid"])
