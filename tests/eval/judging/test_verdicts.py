import pytest

from eval.errors import RunError
from eval.judging.verdicts import judge, page
from eval.records.gates import check_gates
from tests.eval.sample_claims import shipped_claims
from tests.eval.sample_records import make_record, shipped_id
from tests.eval.sample_specs import TABLE2, make_spec

SPECS = [make_spec(), make_spec(TABLE2)]
METHODS = ("none", "tomesd", "retom", "retom_random", "retom_least", "retom_fixed_2", "retom_fixed_8", "retom_fixed_16")


def rows(*methods: str, **retom) -> dict[str, dict]:
    records = {method: make_record(method, **(retom if method == "retom" else {})) for method in methods or METHODS}
    for method, record in records.items():
        beside = [name for name in ("none", "tomesd") if name != method]
        record["against"] = {name: shipped_id(name, record["config"]) for name in beside}
    return records


def computed(method: str, against: str) -> dict[str, dict]:
    return {name: {"value": -1.0, "interval": [-1.5, -0.5]} for name in ("fid", "ssim")}


def refused(method: str, against: str) -> dict[str, dict]:
    raise RunError("the images are gone")


def verdicts(records: dict[str, dict], compare=computed) -> dict[tuple[str, str, str], dict]:
    found = judge(shipped_claims(), SPECS, records, check_gates(list(records.values())), "real", compare)
    return {(claim["method"], claim["against"], claim["metric"]): claim for claim in found}


def test_every_claim_is_judged_with_its_numbers() -> None:
    found = verdicts(rows(fid=35.0))
    assert len(found) == len(shipped_claims()) == 12
    claim = found["retom", "none", "fid"]
    assert (claim["verdict"], claim["difference"], claim["interval"]) == ("supported", -2.5, [-3.0, -2.0])
    assert claim["paper"] == {"ours": 34.89, "base": 37.02, "holds": True}
    assert found["retom", "retom_fixed_8", "fid"]["verdict"] == "supported"
    assert found["retom", "retom_least", "ssim"]["verdict"] == "contradicted"


@pytest.mark.parametrize(("fid", "verdict"), [(36.9, "supported"), (37.2, "undecided"), (38.1, "contradicted")])
def test_the_interval_decides(fid: float, verdict: str) -> None:
    assert verdicts(rows(fid=fid))["retom", "none", "fid"]["verdict"] == verdict


def test_higher_is_better_for_clip() -> None:
    records = rows()
    records["retom"]["metrics"]["clip"]["differences"]["none"] = {"value": 0.5, "interval": [0.1, 0.9]}
    assert verdicts(records)["retom", "none", "clip"]["verdict"] == "supported"
    assert verdicts(records)["retom", "tomesd", "clip"]["why"].endswith("in clip")


def test_missing_rows_are_named_and_what_cannot_be_computed_says_why() -> None:
    found = verdicts(rows("none", "retom"), refused)
    assert found["retom", "tomesd", "fid"]["why"] == "missing rows: ToMeSD"
    assert found["retom_random", "retom_least", "fid"]["why"] == "missing rows: retom_random, retom_least"
    assert found["retom", "none", "fid"]["verdict"] == "supported"
    assert verdicts(rows(), refused)["retom", "retom_random", "fid"]["why"] == "the images are gone"


@pytest.mark.parametrize(("seconds", "verdict"), [(2.0, "supported"), (2.165, "undecided"), (2.4, "contradicted")])
def test_no_slower(seconds: float, verdict: str) -> None:
    assert verdicts(rows(seconds=seconds))["retom", "tomesd", "s_per_im"]["verdict"] == verdict


def test_seconds_during_other_work_or_too_few_decide_nothing() -> None:
    records = rows(seconds=1.0)
    records["tomesd"]["timing"]["quiet"] = False
    assert "while the device had other work" in verdicts(records)["retom", "tomesd", "s_per_im"]["why"]
    records = rows(seconds=1.0)
    records["retom"]["timing"]["batches"][0]["seconds"] = [1.0, 1.1]
    assert "too few timed calls (2 and 9)" in verdicts(records)["retom", "tomesd", "s_per_im"]["why"]


def test_a_failed_gate_leaves_all_undecided() -> None:
    records = rows()
    records["none"]["metrics"]["ssim"]["value"] = 0.9
    found = verdicts(records)
    assert {claim["verdict"] for claim in found.values()} == {"undecided"}
    assert "SSIM of none to itself is 0.9" in found["retom", "none", "fid"]["why"]


def test_page_has_a_row_for_each_claim_and_the_papers_own_contradiction() -> None:
    text = page(list(verdicts(rows()).values()), "Claims", ["One | fact <b>"])
    assert text.count("\n| ") == len(shipped_claims()) + 2
    assert "2.17 to 2.10, does not hold |" in text
    claim = "| ✓ supported | ReToM has a better FID than ToMeSD | FID | 35.00 | 35.00 | -3.00 [-3.50, -2.50] |"
    assert f"{claim} 34.89 to 37.20 |" in text
    assert "- One \\| fact \\<b>" in text


def test_a_difference_to_another_run_of_that_name_is_not_taken() -> None:
    records = rows()
    records["retom"]["against"]["tomesd"] = "table1/tomesd-0123456789ab"
    claim = verdicts(records)["retom", "tomesd", "fid"]
    assert (claim["difference"], claim["interval"]) == (-1.0, [-1.5, -0.5])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"timing": {"quiet": None}}, "while the device had other work, or that is not known"),
        ({"config": {"timing": {"images": 5, "warmup": 2}}}, "timed differently"),
        ({"provenance": {"torch": {"threads": 1}}}, "timed differently"),
    ],
)
def test_seconds_that_do_not_compare_decide_nothing(change: dict, why: str) -> None:
    records = rows(seconds=2.0)
    for key, values in change.items():
        records["tomesd"][key] |= values
    claim = verdicts(records)["retom", "tomesd", "s_per_im"]
    assert claim["verdict"] == "undecided"
    assert why in claim["why"]
