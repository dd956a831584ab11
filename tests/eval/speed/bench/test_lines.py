"""The lines held against rows."""

import pytest

from eval.speed.bench.lines import check_lines


def row(title: str, method: str, **changes) -> dict:
    place = {"title": title, "level": "denoiser", "pixels": 512, "ratio": 0.5, "status": "ok", "window": "2/8/2"}
    ratios = {"to_none": 0.7, "to_oracle": 1.02, "to_tomesd": 0.9, "seconds": 1.0}
    return {**place, "method": method, "period": 20, "backend": "triton", **ratios, **changes}


def status(rows: list[dict]) -> list[str]:
    return [line.status for line in check_lines(rows)]


def test_without_rows_nothing_is_claimed():
    lines = check_lines([])
    assert {line.status for line in lines} == {"not measured"}
    assert [line.cells for line in lines] == [0] * 4
    assert status([row("a", "retom_p20_triton", status="missing"), row("a", "retom_p20", status="failed")]) == (
        ["not measured"] * 4
    )


def test_all_lines_can_be_met_and_missed():
    good = [row("a", "retom_p20_triton", pixels=1024), row("a", "retom_p1_triton", period=1, seconds=1.005)]
    assert status(good) == ["met"] * 4
    bad = [row("b", "retom_p20_triton", pixels=1024, to_oracle=1.06, to_tomesd=1.001, to_none=0.78),
           row("b", "retom_p1_triton", period=1, seconds=1.02)]  # fmt: skip
    assert status(good + bad) == ["missed"] * 4
    assert {(line.where, line.cells) for line in check_lines(good + bad)} == {("b", 2)}


def test_the_worst_cell_decides_and_is_named():
    lines = check_lines([row("a", "retom_p20_triton"), row("b", "retom_p20_triton", to_oracle=1.3)])
    assert (lines[0].worst, lines[0].where, lines[0].cells, lines[0].status) == (1.3, "b", 2, "missed")


def test_gather_speaks_only_where_triton_was_not_measured():
    gather = row("a", "retom_p20", backend="gather", to_oracle=2.0)
    assert check_lines([gather])[0].worst == 2.0
    assert check_lines([gather, row("a", "retom_p20_triton")])[0].worst == 1.02


def test_periods_are_compared_for_the_same_window():
    rows = [row("a", "retom_w2_p20_triton", level="site", window=2, seconds=1.0),
            row("a", "retom_w16_p1_triton", level="site", window=16, period=1, seconds=9.0)]  # fmt: skip
    assert check_lines(rows)[3].status == "not measured"
    rows.append(row("a", "retom_w16_p20_triton", level="site", window=16, seconds=8.0))
    assert check_lines(rows)[3].worst == pytest.approx(9 / 8)


def test_other_ratios_and_sizes_are_no_part_of_the_line_at_1024_px():
    rows = [row("a", "retom_p20_triton"), row("b", "retom_p20_triton", pixels=1024, ratio=0.25, to_none=0.95)]
    assert check_lines(rows)[2].status == "not measured"


def test_images_are_no_cells_of_the_lines():
    assert status([row("a", "retom_p20_triton", level="pipeline")]) == ["not measured"] * 4
