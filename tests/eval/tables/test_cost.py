"""Speed-up and the share of tokens that attention runs on."""

import pytest

from eval.tables import build_table
from eval.tables.cost import speed_up, tokens_kept
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import make_spec


def record(*sites: tuple[int, int | None, int | None, int | None], steps: int = 10, method: str = "retom") -> dict:
    """A record whose sites are (tokens, merged, plans computed, plans reused)."""
    found = make_record(method)
    keys = ("tokens", "merged", "plans_computed", "plans_reused")
    found["merges"] = [{"site": str(place), **dict(zip(keys, site, strict=True))} for place, site in enumerate(sites)]
    found["config"]["sampler"]["steps"] = steps
    return found


@pytest.mark.parametrize(
    ("sites", "share"),
    [
        ([(100, 50, 1, 9)], 0.5),
        ([(100, 50, 1, 9), (300, 300, 0, 0)], 0.875),  # a site that never merges runs on all of its tokens
        ([(100, 50, 1, 4)], 0.75),  # five of ten calls had no plan
        ([(100, 50, 1, 10)], 0.5),  # a scheduler that calls more often than it has steps
        ([(100, 100, 2, 8)], 0.2),  # DeepCache: the block ran at two of ten calls
        ([(100, 50, None, None)], 0.5),
        ([(100, 50, 0, 0), (100, 100, 0, 0)], 0.75),  # the oracle merges without plans
        ([(100, None, 1, 9)], None),
        ([], None),
    ],
)
def test_tokens_kept_are_a_share_over_sites_and_calls(sites: list, share: float | None) -> None:
    found = tokens_kept(record(*sites))
    assert found is None if share is None else found == pytest.approx(share)


def test_the_baseline_keeps_all_and_a_failed_row_has_no_share() -> None:
    assert tokens_kept(record(method="none")) == 1
    assert tokens_kept(make_record("retom", status="failed")) is None
    assert tokens_kept(None) is None


def test_speed_up_is_the_baselines_seconds_over_the_rows() -> None:
    whole = [make_record("none", seconds=3.0), make_record("tomesd", seconds=2.0)]
    table = build_table(make_spec(), whole)
    assert [speed_up(table, line) for line in table.lines] == [1.0, 1.5, None, None]
    alone = build_table(make_spec(), whole[1:])
    assert {speed_up(alone, line) for line in alone.lines} == {None}
