"""Speed-up and tokens kept, from the merges and the timing of a record."""

import pytest

from eval.tables import build_table
from eval.tables.costs import largest_site, speed_up, tokens_kept
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import TABLE2, make_spec


def site(tokens: int | None, merged: int | None, computed: int = 0, reused: int = 0) -> dict:
    return {"tokens": tokens, "merged": merged, "plans_computed": computed, "plans_reused": reused}


@pytest.mark.parametrize(
    ("sites", "share"),
    [
        ([], 1.0),
        ([site(100, 50, 1, 3)], 0.5),
        ([site(100, 50, 4), site(300, 300)], 350 / 400),
        ([site(100, 50, 0, 2)], 0.75),  # two of four calls
        ([site(100, 50, 5), site(100, 50, 1)], 1 - 300 / 1000),  # a scheduler that makes five calls for four steps
        ([site(100, 40)], 0.4),  # the oracle makes no plans and merges at every call
        ([site(100, 100, 1, 3)], 0.25),  # DeepCache: the block ran at one of four calls
        ([site(100, 50, 4), site(None, None)], 0.5),
        ([site(None, None)], None),
    ],
)
def test_tokens_kept_are_over_sites_and_calls(sites: list[dict], share: float | None) -> None:
    assert tokens_kept(make_record() | {"merges": sites}) == (share if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"ratio": 0.5}, False),
        ({"interval": 3}, False),  # DeepCache
        ({"ratio": None, "threshold": 0.7}, True),  # CA-ToMe: as many as are similar
        ({"start": {"ratio": 0.75}, "end": {"ratio": 0.25}}, True),
        ({"ratio": {"down": 0.5}}, True),
    ],
)
def test_a_count_that_changes_over_the_steps_has_no_share(options: dict, changes: bool) -> None:
    record = make_record() | {"merges": [site(100, 50, 4)]}
    record["config"]["method"] = options
    assert (tokens_kept(record) is None) == changes


def test_a_failed_row_has_no_share() -> None:
    assert tokens_kept(make_record(status="failed")) is None


def test_the_speed_up_is_the_baselines_time_over_the_rows() -> None:
    row, baseline = make_record(seconds=2.0), make_record("none", seconds=3.0)
    assert speed_up(row, baseline) == 1.5
    assert speed_up(row, None) is speed_up(row | {"timing": None}, baseline) is None
    assert speed_up(row, baseline | {"timing": None}) is None


def test_the_largest_site_is_that_of_the_most_tokens() -> None:
    assert largest_site(make_record() | {"merges": [site(16, 8), site(256, 128), site(None, None)]}) == 256
    assert largest_site(make_record() | {"merges": []}) is None


def test_both_are_columns_after_the_intervals() -> None:
    records = [make_record("none", seconds=3.0), make_record("retom", seconds=2.0), make_record("retom_least")]
    table = build_table(make_spec(), records)
    assert table.columns[-8:-6] == ("speed_up", "tokens_kept")
    assert [(line.cells["speed_up"], line.cells["tokens_kept"]) for line in table.lines[:2]] == [
        (1.0, 1.0),
        (None, None),
    ]
    second = build_table(make_spec(TABLE2), records)
    assert "speed_up" not in second.columns
    assert second.lines[1].cells["tokens_kept"] == 0.5
