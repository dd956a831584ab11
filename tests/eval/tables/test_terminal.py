"""A table in the terminal: it fits, no number is broken, and the best values are bold where there are colours."""

import io
import re

import pytest
from rich.console import Console

from eval.tables import Table, build_table
from eval.tables.terminal import print_table
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import make_spec

SHIPPED = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}


def sample(profile: str = "smoke", **changes) -> Table:
    records = [
        make_record("none", fid=37.5, seconds=2.62, profile=profile),
        make_record("retom", fid=35.0, profile=profile, **SHIPPED | changes),
        make_record("retom", fid=36.0, profile=profile, **SHIPPED | {"a_long_option": "with_a_long_value", "other": 7}),
    ]
    return build_table(make_spec(), records)


def printed(table: Table, width: int, *, terminal: bool = False) -> str:
    file, colours = io.StringIO(), "standard" if terminal else None
    print_table(table, Console(file=file, width=width, force_terminal=terminal, highlight=False, color_system=colours))
    return file.getvalue()


@pytest.mark.parametrize("profile", ["real", "smoke"])
@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_it_fits_and_no_number_is_broken(width: int, profile: str) -> None:
    table = sample(profile)
    text = printed(table, width)
    assert max(map(len, text.splitlines())) <= width
    numbers = re.findall(r"(?<![\w.])[+-]?\d+\.\d\d\*?(?![\w.])", text)
    assert {"37.50", "35.00"} <= set(numbers)
    assert ("paper" in text.split("\n\n")[0].split("Left out")[0]) == (width >= 100)
    assert "…" not in text


def test_what_is_left_out_is_named() -> None:
    assert "Left out in this width: paper." in printed(sample(), 80)
    assert "Left out" not in printed(sample(), 100)


def test_the_best_is_bold_on_a_terminal_alone() -> None:
    on, off = printed(sample(), 100, terminal=True), printed(sample(), 100)
    assert "Bold: best of its column." in on
    assert re.search(r"\x1b\[1;32m *35\.00\x1b", on)
    assert "\x1b" not in off
    assert "Bold" not in off


def test_a_failed_gate_is_printed() -> None:
    records = [make_record("none"), make_record("retom", **SHIPPED)]
    records[0]["metrics"]["ssim"]["value"] = 0.5
    assert "✗ gate ssim failed" in printed(build_table(make_spec(), records), 100)
