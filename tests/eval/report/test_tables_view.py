"""A table on the page: its groups, which columns are folded or left out, what is best, and why a cell is empty."""

from pathlib import Path

import pytest

from eval.report.columns import CHANGE, OURS, PAPER
from eval.report.tables_view import ABSENT, View, view
from eval.tables import build_table
from tests.eval.sample_records import make_metric, make_record, make_timing
from tests.eval.sample_specs import TABLE1, TABLE2, make_spec

TIMES = "\N{MULTIPLICATION SIGN}"
OPTIONS = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}


def records() -> list[dict]:
    return [
        make_record("none", fid=37.5, seconds=2.6),
        make_record("tomesd", fid=38.25, seconds=2.0),
        make_record("retom", fid=35.0, seconds=2.08, **OPTIONS),
    ]


def shown(found: list[dict], spec: dict = TABLE1) -> View:
    return view(build_table(make_spec(spec), found))


def column(found: View, heading: str, group: str = OURS) -> list:
    names = [(each.group, each.heading.replace("\N{NO-BREAK SPACE}", " ")) for each in found.columns]
    return [row.cells[names.index((group, heading))] for row in found.rows]


def test_columns_are_grouped_and_the_rest_is_folded() -> None:
    found = shown(records())
    assert [(words, count) for words, count, folded in found.groups if not folded] == [
        ("", 3), (OURS, 5), (PAPER, 3), (CHANGE, 2)
    ]  # fmt: skip
    folded = {each.group for each in found.columns if each.folded}
    assert folded == {"KID x 1000", "FID by n", "Run"}
    places = [each.folded for each in found.columns]
    assert places == sorted(places)  # behind the others


def test_numbers_have_two_decimals_and_a_true_minus() -> None:
    found = shown(records())
    assert [cell.text for cell in column(found, "FID ↓")] == ["37.50", "38.25", "missing", "35.00"]
    assert column(found, "FID ↓", CHANGE)[3].text == "\N{MINUS SIGN}2.50"
    assert column(found, "FID ↓", CHANGE)[1].text == "+0.75"
    assert column(found, "FID ↓", CHANGE)[0].text == ABSENT  # the baseline differs from itself in nothing


def test_a_column_without_a_value_is_not_shown() -> None:
    assert not any(each.group == PAPER for each in shown(records(), TABLE2 | {"rows": _without_paper()}).columns)
    assert any(each.group == PAPER for each in shown(records(), TABLE2).columns)
    for found in (shown(records()), shown(records(), TABLE2), shown([])):
        for place in range(len(found.columns)):
            assert any(row.cells[place].text not in ("", ABSENT) for row in found.rows)


def _without_paper() -> list[dict]:
    return [{key: row[key] for key in row if key != "paper"} for row in TABLE2["rows"]]


def test_the_best_of_each_column_is_marked_and_ties_are_all_best() -> None:
    tied = [*records(), make_record("atc", fid=35.001, seconds=9.0)]
    assert [cell.best for cell in column(shown(tied), "FID ↓")] == [False, False, True, True]
    assert [cell.best for cell in column(shown(tied), "CLIP ↑")] == [False, True, False, False]
    assert [cell.best for cell in column(shown(tied), "FID ↓", PAPER)] == [False, False, False, True]
    assert not any(cell.best for cell in column(shown(tied), "Tokens kept"))


def test_a_row_that_is_not_whole_or_was_timed_on_a_busy_device_is_never_best() -> None:
    invalid = [*records()[:2], make_record("retom", fid=35.0, seconds=1.0, invalid=50, **OPTIONS)]
    assert [cell.best for cell in column(shown(invalid), "FID ↓")] == [True, False, False, False]
    busy = records()
    busy[1]["timing"] = make_timing(0.5, others=0.5)
    assert [cell.best for cell in column(shown(busy), "s/im ↓")] == [False, False, False, True]
    assert column(shown(busy), "Speed-up ↑")[1].text == f"5.20{TIMES}†"


@pytest.mark.parametrize(
    ("difference", "interval", "change"),
    [(-2.5, (-3, -2), "better"), (2.5, (2, 3), "worse"), (0.5, (-1, 2), ""), (1, (0, 2), ""), (1, None, "")],
)
def test_a_difference_is_marked_where_its_interval_excludes_0(difference: float, interval, change: str) -> None:
    found = [records()[0], records()[2]]
    found[1]["metrics"]["fid"]["differences"]["none"] = {"value": difference, "interval": interval and [*interval]}
    assert column(shown(found), "FID ↓", CHANGE)[3].change == change
    assert any(line.startswith("*") for line in shown(found).legend) == bool(change)


def test_a_higher_clip_score_is_better() -> None:
    found = records()
    found[2]["metrics"]["clip"]["differences"]["none"] = {"value": 2.5, "interval": [2, 3]}
    assert column(shown(found), "CLIP ↑", CHANGE)[3].change == "better"


def test_speed_up_and_tokens_kept_are_next_to_the_seconds() -> None:
    found = shown(records())
    assert [cell.text for cell in column(found, "Speed-up ↑")] == [f"1.00{TIMES}", f"1.30{TIMES}", "", f"1.25{TIMES}"]
    assert [cell.text for cell in column(found, "Tokens kept")] == ["100%", "50%", "", "50%"]


def test_a_negative_distance_is_left_out_with_its_reason() -> None:
    found = records()
    found[2]["metrics"]["fid"]["infinite"] = -1.5
    cell = column(shown(found), "n = ∞", "FID by n")[3]
    assert cell.text == ABSENT
    assert "no distance can be" in cell.note
    assert any("ReToM (Ours)" in note and "no distance can be" in note for note in shown(found).notes)


def test_a_value_that_could_not_be_had_is_a_dash_with_its_reason() -> None:
    found = records()
    found[1]["metrics"]["clip"] = make_metric(None)
    cell = column(shown(found), "CLIP ↑")[1]
    assert (cell.text, cell.note) == (ABSENT, "the images are all one colour")


def test_each_method_has_its_key_next_to_its_name() -> None:
    found = shown([*records(), make_record("retom", **OPTIONS | {"ratio": 0.75})])
    assert [row.key for row in found.rows] == ["none", "tomesd", "atc", "retom", "retom"]
    assert [row.emphasis for row in found.rows] == [False, False, False, True, False]
    assert found.rows[4].cells[0].text == "ReToM (Ours), ratio=0.75"


def test_gates_are_counted(tmp_path: Path) -> None:
    found = shown(records())
    assert found.passed_gates + len(found.failed_gates) < len(found.gates)  # some are unchecked here
    spoilt = records()
    spoilt[0]["metrics"]["ssim"] = make_metric(0.5)
    assert [gate.name for gate in shown(spoilt).failed_gates] == ["ssim"]
