"""A stage in its own process, so that device errors and timeouts end only that process."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from eval.errors import RunError
from eval.speed.bench.stage_file import read_stage
from scripts.command_line.entry import ROOT, say
from scripts.gpu_stages.order import Order

SOFT = 0.9  # share of a stage's time after which it begins nothing more; at the end of the time it is killed
LEAST = 10.0  # seconds that must be left to start a process again
_TICK = 0.2


@dataclass(frozen=True)
class Ended:
    """How a process ended. error: why it did not complete; found: its result; in_time: False if it was killed."""

    error: str | None = None
    found: Any = None
    in_time: bool = True


def run_stage(order: Order, seconds: float) -> Ended:
    """Execute `order` within `seconds`. If a cell ends the process, a new one is started for the other cells."""
    began = time.monotonic()
    order = replace(order, until=began + SOFT * seconds)
    while True:
        ended = launch(order, began + seconds - time.monotonic())
        running = None if ended.error is None else _running(order)
        if not ended.in_time and running is not None:
            return replace(ended, error=f"{ended.error} in {running}")
        again = ended.in_time and running is not None and running not in order.given_up
        if not again or order.until - time.monotonic() < LEAST:
            return ended
        say(f"{order.stage}: {running}: {ended.error}; the other cells are measured by a new process")
        order = replace(order, given_up={**order.given_up, running: ended.error}, again=False)


def _running(order: Order) -> str | None:
    """The cell that was being measured according to the stage's file."""
    try:
        return read_stage(order.path).running
    except RunError:  # the stage itself ended with this error
        return None


def launch(order: Order, seconds: float) -> Ended:
    """One process for one order, killed with all its children after `seconds`."""
    command = [sys.executable, "-m", "scripts.gpu_stages"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(json.dumps(asdict(order)), timeout=max(seconds, _TICK))
    except subprocess.TimeoutExpired:
        return Ended(f"its {seconds:.0f} s were up", in_time=False)
    finally:
        _end(process)
    return _outcome(process.returncode, output)


def _end(process: subprocess.Popen) -> None:
    """End a process and its children (its own process group) if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process.stdout.close()


def _outcome(status: int, output: str) -> Ended:
    if status < 0:
        return Ended(f"its process ended by {signal.Signals(-status).name}")
    try:
        outcome = json.loads(output.strip().splitlines()[-1])
        return Ended(outcome["error"], outcome.get("found"))
    except (IndexError, ValueError, TypeError, KeyError):
        return Ended(f"its process ended with exit status {status}")
