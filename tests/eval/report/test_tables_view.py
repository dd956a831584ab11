"""A table on the page: its groups, which columns are folded or left out, and how its numbers are set."""

from pathlib import Path

from eval.report.tables_view import View, view
from eval.tables import build_table
from eval.tables.grid import COST, DIFFERENCE, OURS, PAPER
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
    names = [(each.group, each.text.replace("\N{NO-BREAK SPACE}", " ")) for each in found.columns]
    return [row.cells[names.index((group, heading))] for row in found.rows]


def test_columns_are_grouped_and_the_rest_is_folded() -> None:
    found = shown(records())
    assert [(words, count) for words, count, folded in found.groups if not folded] == [
        ("", 3), (OURS, 3), (COST, 2), (PAPER, 3), (DIFFERENCE, 2)
    ]  # fmt: skip
    folded = {each.group for each in found.columns if each.folded}
    assert folded == {"KID x 1000", "FID by n", "Run"}
    places = [each.folded for each in found.columns]
    assert places == sorted(places)  # behind the others


def test_numbers_have_two_decimals_and_a_true_minus() -> None:
    found = shown(records())
    assert [cell.text for cell in column(found, "FID ↓")] == ["37.50", "38.25", "missing", "35.00"]
    assert column(found, "FID ↓", DIFFERENCE)[3].text == "\N{MINUS SIGN}2.50"
    assert column(found, "FID ↓", DIFFERENCE)[1].text == "+0.75"
    assert column(found, "FID ↓", DIFFERENCE)[0].text == ""  # the baseline differs from itself in nothing


def test_a_column_without_a_value_is_left_out() -> None:
    assert not any(each.group == PAPER for each in shown(records(), TABLE2 | {"rows": _without_paper()}).columns)
    assert any(each.group == PAPER for each in shown(records(), TABLE2).columns)
    for found in (shown(records()), shown(records(), TABLE2), shown([])):
        for place in range(len(found.columns)):
            assert any(row.cells[place].text != "" for row in found.rows)


def _without_paper() -> list[dict]:
    return [{key: row[key] for key in row if key != "paper"} for row in TABLE2["rows"]]


def test_marks_are_part_of_the_number_and_a_speed_up_has_a_multiplication_sign() -> None:
    busy = records()
    busy[1]["timing"] = make_timing(0.5, others=0.5)
    found = shown(busy)
    assert column(found, "Speed-up ↑", COST)[1].text == f"5.20{TIMES}†"
    assert column(found, "Speed-up ↑", COST)[3].text == f"1.25{TIMES}"
    assert any(line.startswith("†") for line in found.legend)


def test_the_reason_of_an_absent_value_is_below_the_table() -> None:
    found = records()
    found[2]["metrics"]["fid"]["infinite"] = -1.5
    cell = column(shown(found), "n = ∞", "FID by n")[3]
    assert cell.text == ""
    assert "no distance can be" in cell.note
    assert any("ReToM (Ours)" in note and "no distance can be" in note for note in shown(found).notes)


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
