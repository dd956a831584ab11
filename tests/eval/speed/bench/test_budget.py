"""How time is shared, and what a cell does when it is short."""

import time

import pytest

from eval.speed.bench.budget import Allowance, Limit, NoTimeLeftError, allotted
from eval.speed.bench.figures import ratios, time_per_call
from eval.speed.bench.interleave import Case, interleave
from tests.eval.speed.bench.fake_clock import with_fake_clock


def test_what_a_stage_leaves_goes_to_all_that_follow():
    shares = [1, 3, 3, 2, 1]
    assert allotted(shares, 600) == 60
    assert allotted(shares[1:], 540) == 180
    assert allotted(shares[1:], 591) == pytest.approx(197)  # the first one took 9 of its 60 seconds
    assert allotted(shares[-1:], 100) == 100


def test_without_a_limit_everything_fits():
    allowance = Allowance(None)
    allowance.admitted(1e9, 1e9)
    allowance.check()
    assert allowance.has_another_round


def test_methods_are_admitted_as_long_as_the_fewest_rounds_fit_for_all():
    allowance = Allowance(Limit(time.monotonic() + 60, least=5))
    allowance.check()  # the first, of which nothing is known
    allowance.admitted(warmup=10, call=2)
    allowance.check()  # 10 + 5 * (2 + 2) = 30
    allowance.admitted(warmup=10, call=2)
    allowance.check()  # 10 + 5 * (4 + 2) = 40
    allowance.admitted(warmup=30, call=2)
    with pytest.raises(NoTimeLeftError, match=r"not measured: about 70\.0 s were needed, (60\.0|59\.\d) s were left"):
        allowance.check()
    assert allowance.has_another_round  # 6 of 60


def test_the_last_methods_are_left_out_and_the_others_have_their_rounds(monkeypatch):
    clock = with_fake_clock(monkeypatch)
    cases = [Case(name, lambda seconds=seconds: clock.sleep(seconds)) for name, seconds in
             (("a", 1), ("b", 4), ("c", 4), ("d", 1))]  # fmt: skip
    samples = interleave(cases, rounds=100, warmup=2, device="cpu", limit=Limit(until=60, least=5))
    # a and b take 10 s; c would need 8 s and 5 rounds of 9 s, d as much
    assert {name: len(sample.seconds) for name, sample in samples.items()} == {"a": 9, "b": 9, "c": 0, "d": 0}
    assert all(isinstance(samples[name].error, NoTimeLeftError) for name in "cd")
    assert (samples["a"].error, clock.now) == (None, 55.0)  # a tenth round would have ended at 60


def test_rounds_are_complete_where_there_is_time():
    samples = interleave(
        [Case("a", lambda: None)], rounds=4, warmup=1, device="cpu", limit=Limit(time.monotonic() + 60)
    )
    assert len(samples["a"].seconds) == 4


def test_planning_counts_once_in_a_period_even_if_fewer_calls_were_made():
    assert time_per_call([21.0, 1.0, 1.0, 3.0, 1.0], 20, alike=True) == (21 + 19 * 1.0) / 20
    assert time_per_call([21.0] + [1.0] * 19, 20, alike=True) == time_per_call([21.0] + [1.0] * 19, 20) == 2.0
    for seconds, alike in (([21.0, 1.0], False), ([21.0], True)):
        with pytest.raises(ValueError, match="rounds must be at least the period, 20"):
            time_per_call(seconds, 20, alike=alike)
    table = ratios({"none": [2.0, 2.0], "a": [21.0, 1.0]}, {"none": 1, "a": 20}, ["a"])
    assert table["a"]["to_none"] == 1.0
