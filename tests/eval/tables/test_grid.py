"""The table that is read first: which columns it has, what is best, what is marked, and what is left out."""

import csv
import io

import pytest

from eval.tables import Table, build_table, csv_text
from eval.tables.costs import COSTS, Cost
from eval.tables.grid import Column, change, every_column, grid, legend, overview, reasons
from eval.tables.markdown import render
from tests.eval.sample_records import make_metric, make_record, make_timing
from tests.eval.sample_specs import TABLE2, make_spec

SHIPPED = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}


def rows(**retom) -> list[dict]:
    return [
        make_record("none", fid=37.5, seconds=2.5),
        make_record("tomesd", fid=36.0, seconds=2.1),
        make_record("retom", **{"fid": 35.0, **retom}, **SHIPPED),
    ]


def columns(table: Table) -> dict[str, Column]:
    return {column.name: column for column in overview(table)}


def texts(column: Column) -> list[str]:
    return [f"{cell.text}{cell.mark}" for cell in column.cells]


def best(column: Column) -> list[str]:
    return [cell.text for cell in column.cells if cell.best]


def test_the_columns_are_ours_the_papers_differences_and_costs() -> None:
    found = columns(build_table(make_spec(), rows()))
    metrics = ("fid", "clip", "s_per_im")
    differences = ("fid_minus_none", "clip_minus_none")
    papers = tuple(f"paper_{metric}" for metric in metrics)
    assert tuple(found) == (
        *("model", "window_size", "dest_token", *metrics, "speed_up", "tokens_kept", *papers, *differences),
    )
    headings = [f"{column.heading} {column.arrow}".strip() for column in found.values()]
    assert headings[:6] == ["Method", "Window size", "Dest. token", "FID ↓", "CLIP ↑", "s/im ↓"]
    assert headings[6:] == ["Speed-up ↑", "Tokens kept", *headings[3:6], "FID ↓", "CLIP ↑"]
    assert texts(found["speed_up"]) == ["1.00x", "1.19x", "", "1.15x"]


def test_all_else_is_folded() -> None:
    folded = [column for column in grid(build_table(make_spec(), rows())) if column.folded]
    words = [f"{column.group}: {column.heading} {column.arrow}".strip() for column in folded]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in words] == [
        "KID x 1000: Value ↓",
        "KID x 1000: Difference ↓",
        "FID by n: n/2",
        "FID by n: n = ∞",
        "FID by n: Difference, n = ∞",
        *("Run: n", "Run: Protocol", "Run: Status", "Run: Run"),
    ]


def test_the_best_is_that_of_finished_rows_and_what_looks_equal_is_equal() -> None:
    records = rows(fid=35.996)
    records[1]["status"] = "ok"
    assert best(columns(build_table(make_spec(), records))["fid"]) == ["36.00", "36.00"]
    bad = [*rows(), make_record("mine", fid=1.0, invalid=50)]
    found = columns(build_table(make_spec(), bad))
    assert best(found["fid"]) == ["35.00"]
    assert texts(found["model"])[-1] == "mine (invalid)"
    assert best(found["clip"]) == ["39.62"]
    assert best(found["paper_fid"]) == ["34.89"]


def test_the_baselines_ssim_to_itself_is_not_the_best() -> None:
    spec = make_spec({**TABLE2, "extra_rows": "all"})
    table = build_table(spec, [make_record("none"), make_record("retom", **SHIPPED), make_record("retom_least")])
    found = columns(table)
    assert texts(found["ssim"]) == ["0.740", "0.740", "1.000"]
    assert best(found["ssim"]) == ["0.740", "0.740"]
    assert texts(found["paper_ssim"]) == ["0.74", "0.72", ""]


def test_a_metric_of_unknown_direction_has_no_arrow_and_no_best() -> None:
    records = rows()
    for record in records:
        record["metrics"]["mine"] = record["metrics"]["fid"]
    column = columns(build_table(make_spec(metrics=["mine"]), records))["mine"]
    assert (column.arrow, best(column)) == ("", [])


@pytest.mark.parametrize(
    ("said", "arrow", "found", "changed"),
    [
        (("higher",) * 3, "↑", ["30.00"], "better"),
        (("lower", None, None), "↓", ["10.00"], "worse"),  # older records do not say it
        (("lower", "higher", None), "", [], "different"),
    ],
)
def test_a_further_metric_has_the_direction_that_its_records_say(said, arrow, found, changed) -> None:
    records = rows()
    for record, better, value in zip(records, said, (10.0, 20.0, 30.0), strict=True):
        difference = {"none": {"value": 1.0, "interval": [0.5, 1.5]}}
        record["metrics"]["mine"] = {**record["metrics"]["fid"], "value": value, "differences": difference}
        record["metrics"]["mine"] |= {} if better is None else {"better": better}
    shown = columns(build_table(make_spec(), records))
    assert (shown["mine"].arrow, best(shown["mine"])) == (arrow, found)
    assert shown["mine_minus_none"].cells[3].change == changed


def test_a_further_cost_is_a_column_of_every_table(monkeypatch) -> None:
    monkeypatch.setitem(COSTS, "gib", Cost("GiB", "{:.1f} GiB", lambda record, baseline: 2.25, better="lower"))
    table = build_table(make_spec(TABLE2), rows())
    assert table.columns.index("gib") == table.columns.index("tokens_kept") + 1
    shown = columns(table)["gib"]
    assert (shown.group, shown.arrow, texts(shown)[0]) == ("Cost", "↓", "2.2 GiB")


def test_a_difference_is_marked_where_its_interval_excludes_0() -> None:
    found = columns(build_table(make_spec(), rows(fid=37.2)))
    assert texts(found["fid_minus_none"]) == ["", "-1.50*", "", "-0.30"]


@pytest.mark.parametrize(
    ("difference", "interval", "change"),
    [(-2.5, (-3, -2), "better"), (2.5, (2, 3), "worse"), (0.5, (-1, 2), ""), (1, (0, 2), ""), (1, None, "")],
)
def test_the_sign_of_a_difference_says_better_or_worse(difference: float, interval, change: str) -> None:
    records = rows()
    records[2]["metrics"]["fid"]["differences"]["none"] = {"value": difference, "interval": interval and [*interval]}
    records[2]["metrics"]["clip"]["differences"]["none"] = {"value": 2.5, "interval": [2, 3]}
    found = columns(build_table(make_spec(), records))
    assert found["fid_minus_none"].cells[3].change == change
    assert found["clip_minus_none"].cells[3].change == "better"
    assert found["fid_minus_none"].cells[3].mark == ("*" if change else "")


def test_the_legend_explains_the_marks_that_occur() -> None:
    found = columns(build_table(make_spec(), rows(fid=37.2)))
    assert any(line.startswith("* The 95% interval") for line in legend(list(found.values())))
    assert not any(line.startswith("†") for line in legend(list(found.values())))
    assert legend([found["clip_minus_none"]]) == ["No 95% interval of a difference to the baseline excludes 0."]


def test_a_difference_of_unknown_direction_is_marked_too() -> None:
    assert change("", 1.0, 2.0) == "different"


def test_a_time_on_a_busy_device_is_marked_and_never_best() -> None:
    records = rows()
    records[1]["timing"] = make_timing(0.5, others=0.5)
    found = columns(build_table(make_spec(), records))
    assert texts(found["s_per_im"])[1] == "0.50†"
    assert best(found["s_per_im"]) == ["2.17"]
    assert texts(found["speed_up"])[1] == "5.00x†"
    assert best(found["speed_up"]) == ["1.15x"]


def test_a_busy_baseline_marks_every_speed_up_also_where_it_is_no_row() -> None:
    records = rows()
    records[0]["timing"] = make_timing(2.5, others=0.5)
    found = columns(build_table(make_spec(), records))
    assert texts(found["speed_up"]) == ["1.00x†", "1.19x†", "", "1.15x†"]
    spec = make_spec(
        {"name": "own", "rows": [{"method": "retom"}], "metrics": ["fid", "s_per_im"], "extra_rows": "none"}
    )
    assert texts(columns(build_table(spec, records))["speed_up"]) == ["1.15x†"]


def test_a_value_that_could_not_be_computed_has_its_reason() -> None:
    records = rows()
    records[1]["metrics"]["clip"] = make_metric(None)
    table = build_table(make_spec(), records)
    cell = columns(table)["clip"].cells[1]
    assert (cell.text, cell.note) == ("", "the images are all one colour")
    assert reasons(every_column(table)) == ["No CLIP of ToMeSD: the images are all one colour."]


def test_no_number_is_minus_0() -> None:
    records = rows(fid=37.4999)
    assert texts(columns(build_table(make_spec(), records))["fid_minus_none"])[3] == "+0.00"


def test_no_column_is_empty() -> None:
    spec = make_spec({"name": "own", "rows": [{"method": "none"}, {"method": "retom"}], "metrics": ["fid", "s_per_im"]})
    records = rows()
    for record in records:
        record["timing"] = None
    assert list(columns(build_table(spec, records))) == ["model", "fid", "tokens_kept", "fid_minus_none"]
    page = render(build_table(spec, records))
    heads = [line for line in page.splitlines() if line.startswith("| Method")]
    assert len(heads) == 2
    assert not any("paper" in head or "s/im" in head for head in heads)


@pytest.mark.parametrize(("infinite", "cell"), [(-2.5, None), (2.5, 2.5)])
def test_a_negative_distance_at_infinity_is_left_out_with_the_reason(infinite: float, cell: float | None) -> None:
    records = rows()
    records[2]["metrics"]["fid"]["infinite"] = infinite
    table = build_table(make_spec(), records)
    cells = table.line("retom").cells
    assert cells["fid_infinite"] == cell
    assert (cells["fid_infinite_minus_none"] is None) == (cell is None)
    assert ("at infinity: the extrapolation in 1/n is negative with 100 images" in render(table)) == (cell is None)
    row = next(csv.DictReader(io.StringIO(csv_text(table).split("\n", 4)[0] + "\n" + csv_text(table).splitlines()[4])))
    assert row["fid_infinite"] == ("" if cell is None else "2.5")


def test_no_difference_at_infinity_to_a_baseline_without_that_value() -> None:
    records = rows()
    records[0]["metrics"]["fid"]["infinite"] = -1.0
    cells = build_table(make_spec(), records).line("retom").cells
    assert cells["fid_infinite"] is not None
    assert cells["fid_infinite_minus_none"] is None
