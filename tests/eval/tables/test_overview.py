"""The table that is read first: which columns it has, what is best, what is marked, and what is left out."""

import csv
import io

import pytest

from eval.tables import Table, build_table, csv_text
from eval.tables.markdown import render
from eval.tables.overview import Column, overview
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import TABLE2, make_spec

SHIPPED = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}


def rows(**retom) -> list[dict]:
    return [
        make_record("none", fid=37.5, seconds=2.5),
        make_record("tomesd", fid=36.0, seconds=2.1),
        make_record("retom", **{"fid": 35.0, **retom}, **SHIPPED),
    ]


def columns(table: Table) -> dict[str, Column]:
    return {column.column: column for column in overview(table)}


def texts(column: Column) -> list[str]:
    return [cell.text for cell in column.cells]


def best(column: Column) -> list[str]:
    return [cell.text for cell in column.cells if cell.best]


def test_the_columns_are_ours_the_papers_differences_and_costs() -> None:
    found = columns(build_table(make_spec(), rows()))
    metrics = ("fid", "clip", "s_per_im")
    differences = ("fid_minus_none", "clip_minus_none")
    papers = tuple(f"paper_{metric}" for metric in metrics)
    assert tuple(found) == (
        *("method", "window_size", "dest_token", *metrics, *papers, *differences, "speed_up", "tokens_kept"),
    )
    assert [(column.name, column.arrow) for column in found.values()][3:5] == [("FID", "↓"), ("CLIP", "↑")]
    assert texts(found["speed_up"]) == ["1.00x", "1.19x", "", "1.15x"]


def test_the_best_is_that_of_finished_rows_and_what_looks_equal_is_equal() -> None:
    records = rows(fid=35.996)
    records[1]["status"] = "ok"
    assert best(columns(build_table(make_spec(), records))["fid"]) == ["36.00", "36.00"]
    bad = [*rows(), make_record("mine", fid=1.0, invalid=50)]
    found = columns(build_table(make_spec(), bad))
    assert best(found["fid"]) == ["35.00"]
    assert texts(found["method"])[-1] == "mine (invalid)"
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


def test_a_difference_is_marked_where_its_interval_excludes_0() -> None:
    found = columns(build_table(make_spec(), rows(fid=37.2)))
    assert texts(found["fid_minus_none"]) == ["", "-1.50*", "", "-0.30"]


def test_no_column_is_empty() -> None:
    spec = make_spec({"name": "own", "rows": [{"method": "none"}, {"method": "retom"}], "metrics": ["fid", "s_per_im"]})
    records = rows()
    for record in records:
        record["timing"] = None
    assert list(columns(build_table(spec, records))) == ["method", "fid", "fid_minus_none", "tokens_kept"]
    page = render(build_table(spec, records))
    heads = [line for line in page.splitlines() if line.startswith("| Method") or line.startswith("| Model")]
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
