"""A pytest plugin that appends the result of every test to the file named by an environment variable.

Tests that passed in an earlier run are not run again. Results are on disk even if pytest is killed.
"""

import json
import os
from pathlib import Path

FILE, PASSED = "GPU_TALLY", "GPU_PASSED"


def pytest_collection_modifyitems(config, items: list) -> None:
    """Deselect the tests that passed before."""
    passed = set(json.loads(os.environ.get(PASSED, "[]")))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


def pytest_runtest_logreport(report) -> None:
    """One line of JSON for each test: its call, or the phase around it that failed or was skipped."""
    if report.when != "call" and report.passed:
        return
    _add(report.nodeid, report.outcome, "" if report.passed else _last_line(report))


def pytest_collectreport(report) -> None:
    """A file that cannot be collected counts as a failed test of that name."""
    if report.failed:
        _add(report.nodeid, "failed", _last_line(report))


def _add(name: str, outcome: str, why: str) -> None:
    with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"test": name, "outcome": outcome, "why": why}) + "\n")


def _last_line(report) -> str:
    """The line of pytest's summary: the reason of a skip, else the last line of the error."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
