import csv
import io
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from eval.errors import RunError
from eval.tables import build_table, write_table
from tests.eval.sample_records import make_record, make_timing
from tests.eval.sample_specs import TABLE2, make_spec

GOLDEN = Path(__file__).parent / "golden"
SHIPPED = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}


def sample(profile: str = "real") -> list[dict]:
    """none and retom done, tomesd failed, atc missing; two sweeps, another backend, another method."""
    slow = make_record("none", fid=37.5, seconds=2.62, profile=profile, date="2026-11-18T10:00:00+00:00")
    slow["timing"] = make_timing(2.62, resumed=True, others=0.5)
    blank = make_record("retom", fid=36.0, profile=profile, invalid=3, **SHIPPED | {"ratio": 0.75})
    suffix = "_smoke" if profile == "smoke" else ""
    blank["metrics"][f"clip{suffix}"] |= {"value": None, "interval": None, "differences": {}, "reason": "NaN | pixels"}
    return [
        make_record("retom", profile=profile, backend="matmul", **SHIPPED),
        make_record("mine", profile=profile, fid=34.5, **{"strength": 2}),
        blank,
        make_record("retom", profile=profile, **SHIPPED | {"window": 4}),
        make_record("tomesd", status="failed", profile=profile),
        slow,
        make_record("retom", fid=35.123456789012345, profile=profile, **SHIPPED),
    ]


@pytest.mark.parametrize("profile", ["real", "smoke"])
def test_golden_files(tmp_path: Path, profile: str) -> None:
    for path in write_table(build_table(make_spec(), sample(profile)), tmp_path):
        assert path.read_text() == (GOLDEN / f"{profile}_{path.name}").read_text()


def test_order_of_records_does_not_matter(tmp_path: Path) -> None:
    table = build_table(make_spec(), list(reversed(sample())))
    assert write_table(table, tmp_path)[0].read_text() == (GOLDEN / "real_table1.csv").read_text()


def test_columns_are_those_of_the_design() -> None:
    first = build_table(make_spec(), []).columns
    assert first[:9] == (
        "model",
        "window_size",
        "dest_token",
        "fid",
        "clip",
        "s_per_im",
        "paper_fid",
        "paper_clip",
        "paper_s_per_im",
    )
    second = build_table(make_spec(TABLE2), []).columns
    assert second[:6] == ("model", "destination", "fid", "ssim", "paper_fid", "paper_ssim")
    assert first[-6:] == second[-6:] == ("n", "n_reference", "protocol", "run_id", "status", "gates")


def test_smoke_numbers_never_stand_under_fid() -> None:
    columns = build_table(make_spec(), sample("smoke")).columns
    assert not {"fid", "clip", "fid_low", "fid_minus_none"} & set(columns)
    assert {"fid_smoke", "clip_smoke", "fid_smoke_low", "fid_smoke_minus_none", "paper_fid"} <= set(columns)


def test_a_metric_that_nothing_measures_is_refused() -> None:
    with pytest.raises(RunError, match=r"table1 has 'ssmi', which nothing measures; did you mean 'ssim'\?"):
        build_table(make_spec(metrics=["fid", "ssmi"]), sample())
    own = make_record("retom", fid=35.0, **SHIPPED)
    own["metrics"]["mine"] = own["metrics"]["fid"]
    assert build_table(make_spec(metrics=["mine"]), [own]).line("retom").cells["mine"] == 35.0


def test_images_that_other_machines_generated_are_reported(tmp_path: Path) -> None:
    record = make_record("retom", fid=35.0, **SHIPPED)
    git = {"sha": "f" * 40, "dirty": True, "reason": None}
    record["provenance"]["run"] = {"shards": [{"device_name": "Another GPU", "batch_size_drawn": 1, "git": git}]}
    _, page = write_table(build_table(make_spec(), [record]), tmp_path)
    text = page.read_text()
    assert f"{record['protocol']['device_name']} (images also generated on Another GPU)" in text
    assert "ffffffffffff with changes" in text


def test_a_batch_that_images_depend_on_is_named_and_not_mixed(tmp_path: Path) -> None:
    records = [
        make_record(method, dtype="float16", **options) for method, options in (("none", {}), ("tomesd", SHIPPED))
    ]
    records[1]["provenance"]["run"]["batch_size"] = 1
    _, page = write_table(build_table(make_spec(), records), tmp_path)
    wanted = "float16 images depend on how many are generated together: batches of 4 (tomesd: one image a call)."
    assert wanted in page.read_text()
    _, page = write_table(build_table(make_spec(), sample()), tmp_path)
    assert "generated together" not in page.read_text()
    with pytest.raises(RunError, match=r"would mix 2 protocols, which differ in sampler\.batch_size"):
        build_table(make_spec(), [*records, make_record("atc", dtype="float16", batch_size=2)])


def test_numbers_keep_full_precision(tmp_path: Path) -> None:
    record = make_record("retom", fid=35.1 + math.pi * 1e-9, **SHIPPED)
    path, _ = write_table(build_table(make_spec(), [record]), tmp_path)
    row = next(row for row in csv.DictReader(io.StringIO(path.read_text())) if row["model"] == "ReToM (Ours)")
    assert float(row["fid"]) == 35.1 + math.pi * 1e-9
    assert float(row["fid_minus_none"]) == record["metrics"]["fid"]["differences"]["none"]["value"]
    assert (float(row["s_per_im_low"]), float(row["s_per_im_high"])) == (2.17 - 0.03, 2.17 + 0.03)
    assert (row["n"], row["n_reference"], row["status"]) == ("100", "200", "ok")


def test_rows_that_are_not_there_stay() -> None:
    table = build_table(make_spec(), sample())
    assert [line.status for line in table.lines[:4]] == ["ok", "failed", "missing", "ok"]
    assert [line.cells["model"] for line in table.with_status("failed", "missing")] == ["ToMeSD", "ATC"]
    assert all(table.line("tomesd").cells[name] is None for name in ("fid", "clip", "s_per_im", "n"))
    empty = build_table(make_spec(), [])
    assert {line.status for line in empty.lines} == {"missing"}


def test_extra_rows_are_labelled_by_what_differs() -> None:
    labels = [line.cells["model"] for line in build_table(make_spec(), sample()).lines[4:]]
    assert labels == [
        "ReToM (Ours), backend=matmul",
        "ReToM (Ours), ratio=0.75",
        "ReToM (Ours), window=4",
        "mine",
    ]
    assert len(build_table(make_spec(extra_rows="options"), sample()).lines) == 7
    assert len(build_table(make_spec(extra_rows="none"), sample()).lines) == 4


def test_extra_rows_sort_by_value_not_by_word() -> None:
    records = [make_record("retom", **SHIPPED | {"window": window}) for window in (16, 2, 4)]
    labels = [line.cells["model"] for line in build_table(make_spec(), records).lines[4:]]
    assert labels == [f"ReToM (Ours), window={window}" for window in (2, 4, 16)]


def test_of_two_records_of_one_run_the_finished_then_the_latest_stands() -> None:
    old = make_record("none", fid=1.0, experiment="b", date="2026-01-01T00:00:00+00:00")
    new = make_record("none", fid=2.0, experiment="a", date="2026-02-01T00:00:00+00:00")
    failed = make_record("none", status="failed", experiment="c", date="2026-03-01T00:00:00+00:00")
    table = build_table(make_spec(), [failed, old, new])
    assert table.line("none").cells["fid"] == 2.0
    assert len(table.lines) == 4


def test_seconds_without_enough_samples_have_no_interval() -> None:
    record = make_record("none")
    record["timing"] = make_timing(2.0)
    record["timing"]["batches"][0]["seconds"] = [2.0, 2.1, 2.2]
    cells = build_table(make_spec(), [record]).line("none").cells
    assert (cells["s_per_im"], cells["s_per_im_low"], cells["s_per_im_high"]) == (2.0, None, None)
    record["timing"] = None
    assert build_table(make_spec(), [record]).line("none").cells["s_per_im"] is None


def test_a_thousand_records_make_a_table(tmp_path: Path) -> None:
    records = [make_record("retom", **SHIPPED | {"ratio": 0.5 + i / 4000}) for i in range(1000)]
    path, markdown = write_table(build_table(make_spec(), records), tmp_path)
    assert len(pandas.read_csv(path)) == 1003
    assert (
        markdown.read_text().count("ReToM (Ours), ratio=") == 2 * 999
    )  # in the first table and in that of all columns


def test_words_of_a_record_break_no_cell(tmp_path: Path) -> None:
    record = make_record("retom", status="failed", **SHIPPED | {"ratio": "<b>|`x`\n| y"})
    record["error"]["sentence"] = "line one\nline | two <script>"
    path, markdown = write_table(build_table(make_spec(), [record]), tmp_path)
    text = markdown.read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 * 7
    for part in (table[:7], table[7:]):
        assert len({line.replace("\\|", "").count("|") for line in part}) == 1
    assert r"line one line \| two \<script\>" in text
    assert pandas.read_csv(path).model.iloc[-1] == "ReToM (Ours), ratio=<b>|`x`\n| y"


def test_kill_in_the_middle_of_writing_leaves_complete_tables(tmp_path: Path) -> None:
    write = """
import itertools, pathlib, sys
from eval.tables import build_table, write_table
from tests.eval.sample_records import make_record, make_timing
from tests.eval.sample_specs import make_spec
for number in itertools.count():
    records = [make_record("retom", fid=number, ratio=i / 200, window=1) for i in range(100)]
    write_table(build_table(make_spec(), records), pathlib.Path(sys.argv[1]))
    print(number, flush=True)
"""
    command = [sys.executable, "-c", write, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as writer:
        for _ in range(3):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
    frame = pandas.read_csv(tmp_path / "table1.csv")
    assert len(frame) == 104
    assert frame.fid.nunique() == 1
    assert (tmp_path / "table1.md").read_text().count("\n| ReToM (Ours), ") == 200


def test_select_reaches_the_table() -> None:
    with pytest.raises(RunError, match="select matches none"):
        build_table(make_spec(), sample(), select={"model": "sd15"})
