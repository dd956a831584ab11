"""The claims on the page: those of the records it is made from, or one line on what to run."""

import json
from pathlib import Path

import pytest

from eval.errors import RunError
from eval.judging.verdicts import judge
from eval.records import load_records, run_id
from eval.report.claims import Claims
from eval.report.claims import read_claims as read_verdicts
from eval.report.gather import Gathered, gather
from eval.report.page import write_report
from eval.report.summary import summary
from tests.eval.sample_claims import shipped_claims
from tests.eval.sample_records import make_record
from tests.eval.sample_runs import write_run
from tests.eval.sample_specs import TABLE1, make_spec

OPTIONS = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}
CHOICE = "experiment=mine"
MINUS = "\N{MINUS SIGN}"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    for record in (make_record("none"), make_record("tomesd", fid=38.0), make_record("retom", **OPTIONS)):
        write_run(runs, record)
    return runs


def gathered(runs: Path) -> Gathered:
    return gather([make_spec(TABLE1)], lambda: load_records(runs), runs)


def read_claims(path: Path, rows: Gathered) -> Claims | None:
    return read_verdicts(path, shipped_claims(), rows)


def saved(runs: Path) -> Path:
    """claims.json as scripts.claims writes it."""
    records = {record["method"]: record for record in load_records(runs)}

    def compare(method: str, against: str) -> dict:
        differences = {name: metric["differences"] for name, metric in records[method]["metrics"].items()}
        return {name: found[against] for name, found in differences.items() if against in found}

    found = judge(shipped_claims(), [make_spec(TABLE1)], records, (), "real", compare)
    path = runs.parent / "claims.json"
    names = {method: run_id(record) for method, record in records.items()}
    path.write_text(json.dumps({"claims": found, "runs": names, "gates": "passed", "profile": "real"}))
    return path


def changed(path: Path, **changes) -> Path:
    data = json.loads(path.read_text())
    data["claims"][0] |= changes
    path.write_text(json.dumps(data))
    return path


def test_decided_claims_come_first(runs: Path) -> None:
    found = read_claims(saved(runs), gathered(runs))
    order = ["supported", "contradicted", "undecided"]
    verdicts = [claim.verdict for claim in found.found]
    assert len(verdicts) == 12
    assert verdicts == sorted(verdicts, key=order.index)
    assert found.counts == [(verdict, verdicts.count(verdict)) for verdict in order]
    first = next(claim for claim in found.found if claim.text.endswith("FID than Stable Diffusion"))
    assert (first.difference, first.interval) == (f"{MINUS}2.50", f"[{MINUS}3.00, {MINUS}2.00]")
    assert (first.paper, first.holds) == ("34.89 / 37.02", True)


def test_claims_of_other_runs_or_older_numbers_are_not_shown(runs: Path) -> None:
    path = changed(saved(runs), ours=1.0)
    assert "older numbers" in read_claims(path, gathered(runs)).note
    data = json.loads(saved(runs).read_text())
    data["runs"]["retom"] = "table1/retom-000000000000"
    path.write_text(json.dumps(data))
    assert not read_claims(path, gathered(runs)).found
    del data["runs"]["retom"]
    path.write_text(json.dumps(data))
    assert not read_claims(path, gathered(runs)).found


def test_without_the_file_the_page_names_the_command(runs: Path) -> None:
    found = read_claims(runs.parent / "claims.json", gathered(runs))
    assert not found.found
    write_run(runs, make_record("atc"))  # no row is missing now
    whole = gathered(runs)
    text = write_report(whole, runs.parent, title="Report", claims=found, choice=CHOICE).read_text(encoding="utf-8")
    assert "make claims ARGS=&#34;experiment=mine&#34;" in text
    assert "no claims" not in text


def test_rows_that_no_claim_is_about_have_no_claims(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", make_record("none"))
    assert read_claims(tmp_path / "claims.json", gathered(tmp_path / "runs")) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"runs": []}', '{"claims": [], "runs": null}'])
def test_a_damaged_file_is_an_error_of_one_line(text: str, runs: Path) -> None:
    (runs.parent / "claims.json").write_text(text)
    with pytest.raises(RunError, match=r"^[^\n]+ holds no claims [^\n]+: python -m scripts.claims$"):
        read_claims(runs.parent / "claims.json", gathered(runs))


def test_an_unknown_verdict_is_an_error(runs: Path) -> None:
    with pytest.raises(RunError, match="perhaps"):
        read_claims(changed(saved(runs), verdict="perhaps"), gathered(runs))


def test_the_page_shows_every_claim_and_escapes_it(runs: Path) -> None:
    path = changed(saved(runs), text="<script>alert(12)</script>")
    found = read_claims(path, gathered(runs))
    text = write_report(gathered(runs), runs.parent, title="Report", claims=found).read_text(encoding="utf-8")
    assert text.count("&lt;script&gt;alert(12)") == 2
    assert "<script>alert" not in text
    assert 'class="verdicts"' in text


def test_the_head_has_the_result_its_interval_and_the_next_command(runs: Path) -> None:
    head = summary(gathered(runs), read_claims(saved(runs), gathered(runs)), CHOICE)
    assert head.lead == ("Of 12 claims of the paper, these runs support 2, contradict 0 and leave 10 undecided at 95%.")
    facts = {fact.name: fact for fact in head.facts}
    assert head.against == "ReToM (Ours) against Stable Diffusion"
    assert (facts["FID ↓"].value, facts["FID ↓"].note) == ("35.00", f"{MINUS}2.50 [{MINUS}3.00, {MINUS}2.00]")
    assert facts["FID ↓"].change == "better"
    assert facts["Tokens kept"].value == "50%"
    assert "100 images per row" in head.measured
    assert head.command == "python -m scripts.run --multirun experiment=mine"  # ATC is missing


def test_complete_rows_with_claims_are_to_be_verified(runs: Path) -> None:
    write_run(runs, make_record("atc"))
    retom = next(record for record in load_records(runs) if record["method"] == "retom")
    claims = read_claims(saved(runs), gathered(runs))
    assert summary(gathered(runs), claims).command == f"make verify RUN={run_id(retom)}"
    assert summary(gathered(runs), Claims(note="Nothing yet.")).command == "make claims"


def test_without_any_row_the_head_says_so(tmp_path: Path) -> None:
    def refused() -> list[dict]:
        raise RunError("the records cannot be read")

    nothing = gather([make_spec(TABLE1)], refused, tmp_path)
    head = summary(nothing, None, CHOICE)
    assert (head.facts, head.measured) == ((), "")
    assert head.lead
