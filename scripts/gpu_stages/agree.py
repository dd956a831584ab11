"""The tests that need a GPU, and the result of each: agree_<card>.json."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.atomic import write_json
from eval.errors import RunError
from eval.speed.bench.stage_file import StageFile, fingerprint, read_stage, stage_facts
from scripts.command_line.entry import ROOT
from scripts.gpu_stages import tally
from scripts.gpu_stages.order import Order

STATUSES = {"passed": "ok", "failed": "failed", "skipped": "skipped"}
NO_TESTS = 5  # pytest's exit status if no test was left to run


def agree(order: Order) -> None:
    """Run the tests, except those that passed before in the same version. RunError: pytest did not complete.

    Results of tests that ended in time are in the file, whatever happens to pytest.
    """
    files = order.sizes["tests"]
    same = {**order.same, "tests": fingerprint(ROOT, [file.partition("::")[0] for file in files])}
    before = StageFile() if order.again else read_stage(order.path).of(same)
    passed = [row for row in before.rows if row["status"] == "ok"]
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as lines:
        found = Path(lines.name)
        command = [sys.executable, "-m", "pytest", "-p", tally.__name__, "-p", "no:cacheprovider", "-W", "default",
                   "-m", order.sizes["marker"], "--continue-on-collection-errors", *files]  # fmt: skip
        environment = {**os.environ, **order.sizes["environment"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                       tally.FILE: str(found), tally.PASSED: json.dumps([row["title"] for row in passed])}  # fmt: skip
        ended: int | str = "the time was up"
        try:
            left = max(order.limit.left, 0.1)
            ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr, timeout=left).returncode
        except subprocess.TimeoutExpired:
            pass
        finally:
            rows = [*passed, *read_tally(found)]
            facts = stage_facts(same, None, [] if isinstance(ended, int) else [f"Not all tests were run: {ended}."])
            whole = {"provenance": order.provenance, "config": {"gpu": dict(order.sizes)}, "stage": facts, "rows": rows}
            write_json(order.path, whole)
    if isinstance(ended, str):
        return
    if ended not in (0, 1, NO_TESTS) or not rows:
        raise RunError(f"pytest ended with exit status {ended} after {len(rows)} tests; its output is above")


def read_tally(path: Path) -> list[dict[str, Any]]:
    """The rows of a tally: the last result of each test."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({line["test"]: _row(line) for line in lines}.values())


def _row(line: Mapping[str, str]) -> dict[str, Any]:
    return {"title": line["test"], "method": "test", "status": STATUSES[line["outcome"]], "error": line["why"] or None}
