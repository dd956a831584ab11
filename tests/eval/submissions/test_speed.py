"""What bounds what, and what a row costs: on the real records of the tiny track."""

import copy
import json
from pathlib import Path

import pytest

from eval.errors import RunError
from eval.submissions.speed import best_bound, bounds, check_not_faster_than_free, idle

TREE = Path(__file__).parents[3] / "submissions"


def record(method: str, name: str = "record") -> dict:
    (path,) = TREE.glob(f"{method}/*/*/{name}.json")
    return json.loads(path.read_text(encoding="utf-8"))


def timed(found: dict, seconds: float) -> dict:
    """The record with other raw seconds, of an idle device."""
    found = copy.deepcopy(found)
    raw = [seconds * (1 + 0.001 * step) for step in range(-4, 4)]
    found["timing"] |= {"quiet": True, "s_per_im": seconds, "batches": [{"batch_size": 1, "seconds": raw}]}
    return found


def test_a_bound_leaves_no_more_tokens_anywhere_and_has_no_smaller_ratio() -> None:
    half, more = record("retom", "oracle"), record("todo", "oracle")
    assert (half["config"]["method"]["ratio"], more["config"]["method"]["ratio"]) == (0.5, 0.75)
    assert bounds(half, record("retom"))
    assert bounds(half, record("tomesd"))
    assert not bounds(half, record("todo"))
    assert not bounds(half, record("dynamic_linear"))  # its report is of its last steps, at ratio 0.25
    assert best_bound([more, half], record("retom")) is half
    assert best_bound([more, half], record("dynamic_linear")) is more
    assert best_bound([half], record("todo")) is None
    assert bounds(half, record("none"))


@pytest.mark.parametrize(("seconds", "refused"), [(0.5, True), (0.9, True), (0.94, True), (0.96, False), (1.5, False)])
def test_faster_than_the_faster_of_both_baselines_beyond_noise_is_refused(seconds: float, refused: bool) -> None:
    method, none, oracle = record("retom"), record("retom", "none"), record("retom", "oracle")
    for free, plain in ((1.0, 2.0), (2.0, 1.0)):
        arguments = timed(method, seconds), timed(none, plain), timed(oracle, free)
        if refused:
            with pytest.raises(RunError, match="faster than free is impossible"):
                check_not_faster_than_free(*arguments)
        else:
            check_not_faster_than_free(*arguments)


def test_what_merges_nothing_has_no_bound_and_a_busy_device_bounds_nothing() -> None:
    none, oracle = timed(record("retom", "none"), 1.0), timed(record("retom", "oracle"), 1.0)
    check_not_faster_than_free(timed(record("fewer_steps"), 0.5), none, oracle)
    busy = timed(record("retom"), 0.5)
    busy["timing"]["quiet"] = False
    assert not idle(busy)
    check_not_faster_than_free(busy, none, oracle)
