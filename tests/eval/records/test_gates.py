import json
from pathlib import Path

import pytest

from eval.errors import RunError
from eval.records import protocol_hash, run_id
from eval.records.gates import check_gates, read_references, reference_entry, reference_key, verdict
from eval.tables import build_table
from eval.tables.markdown import render
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import TABLE2, make_spec

SHIPPED = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}


def rows(**none) -> list[dict]:
    return [make_record("none", **{"fid": 37.5, **none}), make_record("tomesd"), make_record("retom", **SHIPPED)]


def status(records: list[dict], references: list[dict], name: str) -> str:
    return next(gate.status for gate in check_gates(records, references) if gate.name == name)


def test_all_gates_pass_next_to_the_reference_run() -> None:
    reference = reference_entry(rows()[0])
    assert [gate.status for gate in check_gates(rows(), [reference])] == ["passed"] * 8
    assert verdict(check_gates(rows(), [reference])) == "passed"
    assert reference["metrics"]["fid"] == {"value": 37.5, "tolerance": 0.02}


@pytest.mark.parametrize(
    ("fid", "expected"), [(36.76, "passed"), (36.74, "failed"), (38.24, "passed"), (38.26, "failed")]
)
def test_the_baseline_is_held_on_both_sides(fid: float, expected: str) -> None:
    reference = reference_entry(rows()[0])
    reference["metrics"] = {"fid": reference["metrics"]["fid"]}
    assert status(rows(fid=fid), [reference], "baseline") == expected


def test_a_metric_of_the_reference_that_is_absent_fails() -> None:
    reference, records = reference_entry(rows()[0]), rows()
    del records[0]["metrics"]["clip"]
    assert status(records, [reference], "baseline") == "failed"


def test_another_machine_is_held_against_the_same_reference_and_other_prompts_are_not() -> None:
    reference, records = reference_entry(rows()[0]), rows()
    for record in records:
        record["protocol"]["device_name"] = "another"
        record["protocol_hash"] = protocol_hash(record["protocol"])
    assert status(records, [reference], "baseline") == "passed"
    assert reference_key({**records[0]["protocol"], "prompts_hash": "c" * 64}) != reference["key"]


def test_without_a_reference_or_a_baseline_nothing_is_claimed() -> None:
    assert verdict(check_gates(rows(), [])) == "unchecked: baseline"
    assert verdict(check_gates(rows()[1:], [])) == "unchecked: baseline, ssim"
    assert verdict(check_gates([], [])) == "unchecked: rows"
    assert verdict(check_gates([make_record("none", status="failed")], [])) == "unchecked: rows"


def test_what_is_wrong_marks_every_row_and_says_so() -> None:
    records = rows()
    records[0]["metrics"]["ssim"]["value"] = 0.9999999
    records[2]["merges"][0]["merged"] = 1024
    table = build_table(make_spec(), records)
    assert {line.cells["gates"] for line in table.lines} == {"failed: ssim, merges"}
    page = render(table)
    assert "- ✗ ssim: SSIM of none to itself is 0.9999999; no row of this table may be quoted" in page
    assert f"the merges of table1/retom-{records[2]['pixel_hash']} are not those of their ratio" in page


def test_a_baseline_that_merges_fails() -> None:
    records = rows()
    records[0]["merges"][0]["merged"] = 512
    assert status(records, [], "merges") == "failed"


def test_invalid_images_fail() -> None:
    assert status([*rows(), make_record("tomesd", invalid=2)], [], "images") == "failed"
    assert status([*rows(), make_record("tomesd", invalid=1)], [], "images") == "passed"


def test_table_two_is_held_against_the_baseline_it_does_not_show() -> None:
    records = [*rows(), make_record("retom_least")]
    table = build_table(make_spec(TABLE2), records, references=[reference_entry(records[0])])
    assert [line.cells["gates"] for line in table.lines] == ["passed", "passed"]


def test_reference_runs_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "gates.json"
    assert read_references(path) == []
    path.write_text(json.dumps({"references": [reference_entry(rows()[0])]}))
    assert read_references(path)[0]["run_id"].startswith("table1/none-")
    for damaged in ("{", "[]", '{"references": [{"key": 1}]}', '{"references": [{"metrics": []}]}'):
        path.write_text(damaged)
        with pytest.raises(RunError, match="has no readable reference runs"):
            read_references(path)
    with pytest.raises(RunError, match="is failed; a reference run is a finished one"):
        reference_entry(make_record("none", status="failed"))


def test_rows_of_other_weights_fail_together() -> None:
    records = rows()
    records[2]["provenance"]["run"] = {"model": {"weights": {"unet": "e" * 64}}}
    assert status(records, [], "weights") == "failed"
    for record in records:
        del record["provenance"]["run"]
    assert status(records, [], "weights") == "unchecked"


@pytest.mark.parametrize("where", ["run", "shard", "timing"])
def test_rows_of_other_attention_kernels_fail_together(where: str) -> None:
    records = rows()
    run = records[2]["provenance"]["run"]
    part = {"run": run, "shard": {"device_name": "d"}, "timing": records[2]["timing"]}[where]
    part["attention_kernel"] = ["flash3 d=8"]
    if where == "shard":
        run["shards"] = [part]
    gate = next(gate for gate in check_gates(records) if gate.name == "attention")
    assert gate.status == "failed"
    assert gate.details.startswith("rows ran different attention kernels: table1/none-")
    assert gate.details.endswith(f"; table1/retom-{records[2]['pixel_hash']} ran flash3 d=8")
    assert "flash3 d=8" in render(build_table(make_spec(), records))


def test_records_from_before_attention_kernels_were_saved_are_read() -> None:
    records = rows()
    del records[0]["provenance"]["run"]["attention_kernel"]
    gate = next(gate for gate in check_gates(records) if gate.name == "attention")
    assert (gate.status, gate.details) == (
        "passed", "attention ran as flash d=8, flash d=16, 1 of 3 do not report theirs"
    )  # fmt: skip
    for record in records:
        del record["provenance"]["run"]
    assert status(records, [], "attention") == "unchecked"


def test_a_comparison_with_images_that_are_others_by_now_fails() -> None:
    records = rows()
    records[0]["images"]["sha256"] = "1" * 64
    records[2]["against"] = {"none": run_id(records[0])}
    for then, expected in (("1" * 64, "passed"), ("2" * 64, "failed"), (None, "passed")):
        records[2]["against_pictures"] = {"none": then}
        assert status(records, [], "compared") == expected


def test_the_reference_holds_on_any_device() -> None:
    record = rows()[0]
    other = record["protocol"] | {
        "sampler": record["protocol"]["sampler"] | {"device": "cuda:1"},
        "device_name": "H200",
    }
    assert reference_key(other) == reference_key(record["protocol"])
