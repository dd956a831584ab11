"""The summary of the faults: counts, seconds, and only the part of the page that is its own."""

import pytest

from tests.faults.figures import BEGIN, END, replace, table


def entry(kind: str, survived: bool = True, seconds: float | None = 1.0, detail: str = "") -> dict:
    return {"kind": kind, "survived": survived, "seconds": seconds, "detail": detail, "at": 0}


def test_every_kind_is_counted_and_lost_ones_show() -> None:
    kill = "kill -9 at a random moment"
    text = table(
        [entry(kill, detail="generating"), entry(kill, seconds=4.0, detail="generating"), entry("NaN", False, None)]
    )
    assert f"| {kill} | 2 | 2 | 2.5 | 4.0 |" in text
    assert "| NaN | 1 | 0 |  |  |" in text
    assert "| all | 3 | 2 | 2.5 | 4.0 |" in text
    assert "generating 2." in text


def test_the_rest_of_the_page_stays() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="once each"):
        replace("no markers", "new")
