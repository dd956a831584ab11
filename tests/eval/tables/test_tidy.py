"""The tidy CSV of a folder's runs: one line per run and metric, the differing options as columns, while jobs run."""

import csv
import io
from pathlib import Path

import yaml

from eval.records import RunFolder, load_records, run_id
from eval.tables.tidy import tidy, unfinished_runs, write_tidy
from tests.eval.sample_records import make_config, make_record


def lines_of(frame) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(frame.to_csv(index=False))))


def test_one_line_for_each_run_and_metric_with_the_options_that_differ() -> None:
    records = [make_record(ratio=ratio, alpha=0.5, fid=30 + ratio) for ratio in (0.25, 0.5)]
    lines = lines_of(tidy(records))
    assert [line["metric"] for line in lines] == ["fid", "kid", "clip", "ssim", "s_per_im"] * 2
    assert set(lines[0]) >= {"run_id", "method", "status", "method.ratio", "metric", "value", "low", "high", "n"}
    assert "method.alpha" not in lines[0]
    first = next(line for line in lines if line["metric"] == "fid" and line["method.ratio"] == "0.25")
    assert (first["value"], first["low"], first["high"], first["minus_none"]) == ("30.25", "29.25", "31.5", "-7.25")


def test_the_batch_size_is_an_option_where_images_depend_on_it() -> None:
    for dtype, differs in (("float32", False), ("float16", True)):
        records = [make_record(ratio=size / 8, dtype=dtype, batch_size=size) for size in (2, 4)]
        assert ("sampler.batch_size" in tidy(records).columns) == differs


def test_the_same_records_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    records = [make_record(name, ratio=ratio) for name in ("retom", "tomesd") for ratio in (0.25, 0.5)]
    first = write_tidy(tidy(records), tmp_path / "a.csv").read_bytes()
    assert write_tidy(tidy(records[::-1]), tmp_path / "a.csv").read_bytes() == first


def test_failed_and_unfinished_runs_have_a_line_of_their_own(tmp_path: Path) -> None:
    done, failed = make_record(ratio=0.25), make_record(ratio=0.5, status="failed")
    for record in (done, failed):
        RunFolder(tmp_path, "table1", record["method"], record["pixel_hash"]).write_record(record)
    begun = tmp_path / "table1" / "retom-000000000000"
    begun.mkdir()
    (begun / "config.yaml").write_text(yaml.safe_dump(make_config(ratio=0.75)))
    damaged = tmp_path / "table1" / "retom-000000000001"
    damaged.mkdir()
    (damaged / "config.yaml").write_text("{: not yaml")
    (damaged / "record.json").write_text("{")
    output: list[str] = []
    records = load_records(tmp_path, "table1", warn=output.append)
    lines = lines_of(tidy(records, unfinished_runs(tmp_path, "table1", records)))
    assert len(output) == 1
    found = {line["run_id"]: (line["status"], line["method.ratio"]) for line in lines}
    assert found == {
        run_id(done): ("ok", "0.25"),
        run_id(failed): ("failed", "0.5"),
        "table1/retom-000000000000": ("unfinished", "0.75"),
        "table1/retom-000000000001": ("unfinished", ""),
    }


def test_what_one_method_alone_has_is_a_column_only_where_its_runs_differ() -> None:
    records = [make_record("none"), *(make_record(ratio=0.5, alpha=alpha) for alpha in (0.25, 0.5))]
    columns = list(tidy(records).columns)
    assert columns[3:5] == ["method.alpha", "metric"]


def test_lists_and_windows_are_columns_too() -> None:
    one = make_record(window={"down": 2, "mid": 8}, targets=["self"])
    other = make_record(window=4, targets=["self", "cross"])
    columns = list(tidy([one, other]).columns)
    assert columns[3:7] == ["method.window.down", "method.window.mid", "method.targets", "method.window"]
