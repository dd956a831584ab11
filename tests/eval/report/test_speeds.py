"""Seconds measured with random weights, as tables of the page."""

from pathlib import Path

from eval.provenance import collect
from eval.report.studies.found import Studies, find_studies
from eval.speed.bench.speed import COLUMNS, speed_rows, write_speed
from eval.speed.bench.stage_file import stage_facts
from tests.eval.report.test_studies import page_of
from tests.eval.sample_records import make_config
from tests.eval.speed.bench.test_speed import FIRST, METHODS, measured


def written(folder: Path, card: str = "card") -> Studies:
    rows = [measured("none", *[4.0] * 6), measured("retom", *[2.0] * 6)]
    rows.append(measured("retom", status="missing", error="the time was up", attention="naive"))
    write_speed(folder, card, speed_rows(FIRST, rows, METHODS), collect(root=folder), {}, stage_facts({}))
    return find_studies(folder, make_config())


def test_there_is_a_table_for_each_card_and_attention(tmp_path: Path) -> None:
    written(tmp_path)
    studies = written(tmp_path, "other")
    assert [view.name for view in studies.speeds] == [
        "speed_card_sdpa", "speed_card_naive", "speed_other_sdpa", "speed_other_naive"
    ]  # fmt: skip
    sdpa, naive = studies.speeds[:2]
    assert "random weights" in sdpa.title
    retom = sdpa.rows[1]
    assert [cell.text for cell in retom.cells][3:7] == ["gather", "2.000 [2.000, 2.000]", "6", "2.00 [2.00, 2.00]"]
    assert [cell.value for cell in retom.cells][4:9] == [2.0, 6, 2.0, 1.6, 1.25]
    assert (len(retom.csv), len(sdpa.csv_header)) == (len(COLUMNS), len(COLUMNS))
    assert "retom: the time was up" in naive.notes
    assert not studies.problems


def test_the_page_shows_them_as_what_they_are(tmp_path: Path) -> None:
    page = page_of(tmp_path, written(tmp_path))
    assert "Time does not depend on weights" in page.text
    assert "2.000 [2.000, 2.000]" in page.text


def test_a_damaged_file_is_a_problem_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "speed_card.json").write_text("{", encoding="utf-8")
    studies = find_studies(tmp_path, make_config())
    assert (studies.speeds, len(studies.problems)) == ((), 1)
    assert "speed_card.json cannot be read" in studies.problems[0]
    (tmp_path / "speed_card.json").write_text(
        '{"stage": {"same": {}, "running": null, "notes": []}, "rows": [{"title": 1, "method": 1, "status": "ok"}]}'
    )
    assert "is no table of seconds" in find_studies(tmp_path, make_config()).problems[0]


def test_without_such_a_file_the_page_is_as_before(tmp_path: Path) -> None:
    assert find_studies(tmp_path, make_config()).speeds == ()
