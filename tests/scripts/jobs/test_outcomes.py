"""The summary of a call: every job with its status, whichever process it ran in."""

import os
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from scripts.command_line.entry import CONF
from scripts.jobs.outcomes import NOT_ENDED, Outcome, Outcomes, Plan, planned, summary


@pytest.fixture(autouse=True)
def _hydra():
    yield
    GlobalHydra.instance().clear()


def in_a_child(work) -> int:
    """Run `work` in a forked process; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_plan_is_what_the_sweeper_makes(tmp_path: Path) -> None:
    arguments = ["--multirun", "experiment=ablate_alpha", f"results={tmp_path}", "method.ratio=0.25,0.5"]
    plan = planned(arguments, CONF)
    assert len(plan.jobs) == 5 * 2
    assert plan.jobs[1][:2] == ("method=retom", "method.alpha=0.0")
    assert plan.jobs[1][-1] == "method.ratio=0.5"
    assert plan.folder == tmp_path / "runs" / "ablate_alpha"


def test_what_is_given_wins_over_the_experiments_sweep() -> None:
    plan = planned(["-m", "experiment=table2", "method=retom"], CONF)
    assert plan.jobs == (("method=retom", "experiment=table2"),)


def test_one_run_is_no_sweep() -> None:
    assert planned(["method=retom"], CONF) is None


def test_outcomes_of_other_processes_are_read_and_the_silent_ones_listed(tmp_path: Path) -> None:
    plan = Plan((("method=none",), ("method=tomesd",), ("method=retom",)), tmp_path / "runs" / "table1")
    outcomes = Outcomes()
    outcomes.add(Outcome(0, "table1/none-1", "done", plan.jobs[0]), plan.folder)
    away = Outcome(2, "table1/retom-2", "failed", plan.jobs[2], "it merged nothing")
    assert in_a_child(lambda: outcomes.add(away, plan.folder)) == 0
    found = outcomes.collect(plan)
    assert [outcome.status for outcome in found] == ["done", NOT_ENDED, "failed"]
    assert found[2] == away
    outcomes.forget(plan)
    assert not plan.folder.joinpath(".sweeps").exists()


def test_two_sweeps_at_once_do_not_read_each_others_outcomes(tmp_path: Path) -> None:
    plan = Plan((("method=none",),), tmp_path)

    def other() -> None:
        theirs = Outcomes()
        assert in_a_child(lambda: theirs.add(Outcome(0, "run", "done"), plan.folder)) == 0

    assert in_a_child(other) == 0
    assert [outcome.status for outcome in Outcomes().collect(plan)] == [NOT_ENDED]


def test_the_summary_tells_jobs_apart_by_what_differs() -> None:
    one = Outcome(0, "sweep/retom-a", "done", ("model=sd15", "method.period=1"))
    two = Outcome(1, "sweep/retom-b", "failed", ("model=sd15", "method.period=5"), "no space")
    assert summary([one, two]).splitlines() == [
        "done              sweep/retom-a  method.period=1",
        "failed            sweep/retom-b  method.period=5  no space",
    ]
    assert summary([two]) == "failed            sweep/retom-b  no space"


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [("done", "rescored", "done"), ("done", "already finished", "done"), ("done", "failed", "failed")],
)
def test_of_a_run_that_several_jobs_worked_on_the_outcome_says_what_became_of_it(first, then, kept, tmp_path) -> None:
    plan = Plan((("method=retom",),), tmp_path)
    outcomes = Outcomes()
    for status, part in ((first, "shard.index=0"), (then, "shard.index=close")):
        outcome = Outcome(0, "table1/retom-2", status, (*plan.jobs[0], part))
        assert in_a_child(lambda outcome=outcome: outcomes.add(outcome, plan.folder)) == 0
    assert outcomes.collect(plan) == [Outcome(0, "table1/retom-2", kept, plan.jobs[0])]


def test_the_first_reason_of_a_failure_stands(tmp_path: Path) -> None:
    plan = Plan((("method=retom",),), tmp_path)
    outcomes = Outcomes()
    for why in ("it merged nothing", "its images are not there"):
        outcome = Outcome(0, "table1/retom-2", "failed", plan.jobs[0], why)
        assert in_a_child(lambda outcome=outcome: outcomes.add(outcome, plan.folder)) == 0
    assert outcomes.collect(plan)[0].message == "it merged nothing"
