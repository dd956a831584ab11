import copy

import pytest

from eval.judging.verification import DIFFERENT, EQUAL, WITHIN, compare_metrics
from tests.eval.sample_records import make_record

KEPT = make_record("retom")["metrics"]


def outcome(change) -> dict[str, str]:
    again = copy.deepcopy(KEPT)
    change(again)
    return {finding.what: finding.outcome for finding in compare_metrics(KEPT, again)}


def test_the_same_is_equal() -> None:
    assert set(outcome(lambda again: None).values()) == {EQUAL}


def test_a_record_without_the_direction_of_a_metric_is_equal() -> None:
    assert set(outcome(lambda again: again["fid"].update(better="lower")).values()) == {EQUAL}


def test_float_noise_is_distinguished_from_another_number() -> None:
    def noise(again: dict) -> None:
        again["fid"]["value"] *= 1 + 1e-6
        again["clip"]["interval"][0] += 0.1
        again["fid"]["differences"]["none"]["value"] += 1e-4  # of a difference of 35 and 37.5

    found = outcome(noise)
    assert (found["fid"], found["clip"], found["kid"]) == (WITHIN, DIFFERENT, EQUAL)


@pytest.mark.parametrize(
    "change",
    [
        lambda again: again.pop("fid"),
        lambda again: again["fid"].update(value=None),
        lambda again: again["fid"].update(protocol="another network"),
        lambda again: again["fid"]["differences"].pop("none"),
        lambda again: again["fid"].update(interval=None),
    ],
)
def test_what_is_not_there_or_is_another_is_different(change) -> None:
    assert outcome(change)["fid"] == DIFFERENT
