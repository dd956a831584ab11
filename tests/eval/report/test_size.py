"""The page of a thousand runs stays under 15 MB, and says what it leaves out."""

import html
import json
from pathlib import Path

import numpy as np
import pytest

from eval.records import pixel_hash, run_id
from eval.report.figures import draw_all
from eval.report.gallery import gallery
from eval.report.gather import Gathered, gather
from eval.report.limits import COLUMNS, CURVES, NAMED, few
from eval.report.page import write_report
from eval.report.provenance import origins
from tests.eval.sample_records import make_record, make_timing
from tests.eval.sample_runs import write_run
from tests.eval.sample_specs import TABLE1, make_spec

RUNS, PICTURED, RECORD = 1000, 60, 12_500  # the last: bytes of a record of the tiny model, as measured


def many(count: int) -> list[dict]:
    """Records of a sweep over ratio, alpha and period, as large as real ones."""
    records = [make_record("none", fid=37.5, seconds=2.6)]
    for number in range(1, count):
        options = {"ratio": number / count, "alpha": (number % 7) / 7, "period": 1 + number % 9}
        record = make_record("retom", fid=35 + number % 13 / 10, seconds=2.0 + number / count, **options)
        records.append(record)
    for record in records:
        lacking = RECORD - len(json.dumps(record, indent=2))
        record["provenance"]["packages"] = {f"package-{number:04d}": "1.2.3" for number in range(lacking // 30)}
        record["timing"] = make_timing(record["timing"]["s_per_im"])
        record["pixel_hash"] = pixel_hash(record["config"])
    return records


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Gathered:
    """A thousand runs; those that may have their images on the page have some that hardly compress."""
    runs = tmp_path_factory.mktemp("sweep") / "runs"
    records = many(RUNS)
    for record in few(records, PICTURED):
        write_run(runs, record, noise=0.3, prompts=tuple(f"prompt {number}" for number in range(4)), side=256)
    spec = make_spec({**TABLE1, "name": "sweep", "extra_rows": "options"})
    return gather([spec], lambda: records, runs)


def test_a_thousand_runs_are_under_15_megabytes(sweep: Gathered, tmp_path: Path) -> None:
    path = write_report(sweep, tmp_path, title="A sweep")
    assert path.stat().st_size < 15_000_000
    page = html.unescape(path.read_text(encoding="utf-8"))
    assert f"Images of {COLUMNS} of {RUNS} rows are shown" in page
    assert f"of {RUNS} runs; the others are in the named files" in page
    assert f"The {CURVES} curves with the most values are shown, of" in page
    assert "rows are grey dots without a name" in page
    last = sweep.entries[-1].run
    assert f"runs/{last}/record.json" in page
    assert all(f'id="run-{entry.run}"' in page for entry in sweep.entries if entry.run)


def test_few_runs_are_shown_completely(tmp_path: Path) -> None:
    records = many(NAMED)
    for record in records[:2]:
        write_run(tmp_path / "runs", record)
    found = gather([make_spec({**TABLE1, "extra_rows": "options"})], lambda: records, tmp_path / "runs")
    assert not any(origin.left_out for origin in origins(found))
    assert not any("grey dots" in drawing.alt for drawing in draw_all(found, tmp_path / "figures"))


def test_the_baseline_run_is_among_the_images(sweep: Gathered) -> None:
    shown = gallery(sweep, prompts=1, budget=10**9)
    assert any(entry.line.record["method"] == "none" for entry in shown.columns)
    backwards = [entry for entry in sweep.entries if entry.run][::-1]
    assert len(few(backwards, COLUMNS)) == COLUMNS
    turned = Gathered(sweep.runs, sweep.tables, sweep.overview, tuple(backwards), ())
    assert any(entry.line.record["method"] == "none" for entry in gallery(turned, prompts=1).columns)


def test_records_fill_their_budget_in_order(sweep: Gathered) -> None:
    found = origins(sweep, budget=100_000)
    held = [not origin.left_out for origin in found]
    assert 0 < sum(held) < 20
    assert held == sorted(held, reverse=True)
    assert found[-1].facts
    assert found[-1].left_out == f"{run_id(sweep.entries[-1].line.record)}/record.json"


def test_few_takes_the_first_and_spreads_the_others() -> None:
    assert few(range(10), 20) == list(range(10))
    assert few(range(100), 8) == [0, 1, 2, 3, 4, 28, 52, 76]
    assert np.all(np.diff(few(range(1000), 24)) > 0)
