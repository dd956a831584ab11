import pytest

from eval.tables import build_table
from eval.tables.claims import claims, in_words
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import TABLE2, make_spec

SHIPPED = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}


def all_records(profile: str = "real") -> list[dict]:
    return [
        make_record("none", fid=37.5, profile=profile),
        make_record("tomesd", fid=38.0, profile=profile),
        make_record("retom", fid=35.0, profile=profile, **SHIPPED),
    ]


def test_the_papers_percentages_follow_from_its_table() -> None:
    found = claims(build_table(make_spec(), []))
    assert [claim["against"] for claim in found] == ["tomesd", "none"]
    assert [f"{claim['paper']['percent']:.1f}" for claim in found] == ["6.2", "5.8"]
    assert [claim["ours"] for claim in found] == [None, None]
    assert in_words(found[0]) == (
        "ReToM (Ours) against ToMeSD: not measured, because the row of ReToM (Ours) is missing; "
        "in the paper FID is 6.2% lower (37.20 to 34.89)."
    )


@pytest.mark.parametrize(("profile", "name"), [("real", "FID"), ("smoke", "fid_smoke")])
def test_ours_comes_with_the_paired_interval(profile: str, name: str) -> None:
    tomesd, none = claims(build_table(make_spec(), all_records(profile)))
    assert tomesd["ours"] == {
        "ours": 35.0,
        "base": 38.0,
        "percent": pytest.approx(100 * 3 / 38),
        "difference": -3.0,
        "interval": [-3.5, -2.5],
    }
    assert none["ours"]["difference"] == -2.5
    assert in_words(tomesd).startswith(
        f"ReToM (Ours) against ToMeSD: here {name} is 7.9% lower "
        "(38.00 to 35.00, paired difference -3.00 [-3.50, -2.50]); in the paper"
    )


def test_a_worse_result_is_said_as_such() -> None:
    records = [*all_records()[:2], make_record("retom", fid=39.9, **SHIPPED)]
    assert "here FID is 5.0% higher" in in_words(claims(build_table(make_spec(), records))[0])


def test_no_figure_says_why() -> None:
    failed = [*all_records()[::2], make_record("tomesd", status="failed")]
    tomesd, none = claims(build_table(make_spec(), failed))
    assert tomesd["why"] == "the row of ToMeSD is failed"
    assert none["ours"] is not None
    records = all_records()
    records[2]["metrics"]["fid"] |= {"value": None, "reason": "one colour"}
    assert claims(build_table(make_spec(), records))[1]["why"] == "the row of ReToM (Ours) has no fid"
    records = all_records()
    records[2]["metrics"]["fid"]["differences"] = {}
    assert "paired" not in in_words(claims(build_table(make_spec(), records))[0])
    records[0]["metrics"]["fid"]["value"] = 0.0
    assert "here FID is without a percentage" in in_words(claims(build_table(make_spec(), records))[1])


def test_a_table_without_the_rows_claims_nothing() -> None:
    assert claims(build_table(make_spec(TABLE2), [])) == []
