"""The verdicts on damage: pairs of ratios and of destinations, and the words for them."""

import pytest

from eval.judging.damage import FALLS, GROWS, IN_VALUE, UNCLEAR, WORSE, Pair, Run, growth, render, rivals_of, steps_of

RUNS = [
    Run(method, ratio, f"damage/{method}-{ratio}")
    for method in ("retom", "retom_random", "atc")
    for ratio in (0.75, 0.25, 0.5)
]


def pair(metric, difference, half, run=RUNS[2], against=RUNS[1]):
    ends = (None, None) if half is None else (difference - half, difference + half)
    return Pair(metric, run, against, difference, *ends, n=100)


def test_ratios_are_compared_with_the_next_lower_one():
    steps = [(run.method, run.ratio, other.ratio) for run, other in steps_of(RUNS)]
    assert steps[:2] == [("atc", 0.5, 0.25), ("atc", 0.75, 0.5)]
    assert len(steps) == 6
    assert all(run.method == other.method for run, other in steps_of(RUNS))


def test_destinations_are_compared_at_the_same_ratio():
    found = rivals_of(RUNS, "retom", ("retom_random", "retom_least"))
    assert [(run.method, run.ratio, other.method, other.ratio) for run, other in found] == [
        ("retom", ratio, "retom_random", ratio) for ratio in (0.25, 0.5, 0.75)
    ]


@pytest.mark.parametrize(
    ("metric", "difference", "half", "sign"),
    [
        ("ssim", -0.1, 0.05, 1),
        ("ssim", 0.1, 0.05, -1),
        ("fid_smoke", 3.0, 1.0, 1),
        ("fid_smoke", -3.0, 1.0, -1),
        ("fid_smoke", 3.0, 4.0, 0),
        ("ssim", -0.1, None, 0),
    ],
)
def test_more_damage_is_less_ssim_and_more_distance(metric, difference, half, sign):
    assert pair(metric, difference, half).sign == sign


def test_growth_needs_every_step():
    up, down, open_ = (pair("ssim", value, 0.05) for value in (-0.1, 0.1, -0.01))
    assert growth([up, up]) == GROWS
    assert growth([down, down]) == FALLS
    assert growth([up, open_]) == growth([open_]) == IN_VALUE
    assert growth([up, down]) == growth([open_, pair("ssim", 0.01, 0.05)]) == growth([]) == UNCLEAR


def test_the_page_says_what_the_pairs_say():
    values = {metric: {run: run.ratio for run in RUNS} for metric in WORSE}
    steps = [pair("ssim", -0.1, 0.05, *both) for both in steps_of(RUNS)]
    steps += [pair("fid_smoke", 3.0, 1.0 if both[0].method == "atc" else 4.0, *both) for both in steps_of(RUNS)]
    rivals = [pair("ssim", 0.02, 0.01, *both) for both in rivals_of(RUNS, "retom", ("retom_random",))]
    page = render("Damage", values, steps, rivals, ["n = 100"], str.upper)
    assert "- Damage in ssim, of 3 methods: grows for 3 (ATC, RETOM, RETOM_RANDOM)." in page
    assert (
        "- Damage in fid_smoke, of 3 methods: grows for 1 (ATC); grows in value only for 2 (RETOM, RETOM_RANDOM)."
        in page
    )
    step = "+3.00 [+2.00, +4.00]"
    own = page.split("### Distance to real images")[1]
    assert f"| ATC | 0.25, 0.5, 0.75 | 0.25, 0.50, 0.75 | {step}, {step} | grows |" in own
    assert page.count("| ATC |") == len(WORSE)
    assert "| RETOM | RETOM_RANDOM | 0.5 | ssim | +0.020 [+0.010, +0.030] | less |" in page
    assert page.endswith("- n = 100\n")
    assert {
        len(line.split("|")) for line in page.splitlines() if line.startswith("| RETOM |") and "RETOM_RANDOM" in line
    } == {8}


def test_a_row_of_the_csv_names_both_runs():
    row = pair("ssim", -0.1, None).row()
    assert (row["run_id"], row["against_run_id"]) == (RUNS[2].run_id, RUNS[1].run_id)
    assert (row["method"], row["ratio"], row["against_ratio"]) == ("retom", 0.5, 0.25)
    assert (row["low"], row["high"], row["damage"], row["n"]) == (None, None, "undecided", 100)
