"""A stage in a process of its own: what goes wrong on the device, or takes too long, ends there."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from eval.bench.stage_file import read_stage
from eval.errors import RunError
from scripts.command_line.entry import ROOT, say
from scripts.gpu_stages.order import Order

SOFT = 0.9  # part of a stage's seconds after which it begins nothing more; at the end of them it is ended
LEAST = 10.0  # seconds that must be left to start a process again
_TICK = 0.2


@dataclass(frozen=True)
class Ended:
    """How a process ended. error: why it did not come to its end; found: what it returned; in_time: not by force."""

    error: str | None = None
    found: Any = None
    in_time: bool = True


def run_stage(order: Order, seconds: float) -> Ended:
    """Do `order` within `seconds`. A process that a cell ends is started again for the other cells."""
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
    """The cell that the stage's file says is being measured."""
    try:
        return read_stage(order.path).running
    except RunError:  # the stage itself has ended with this sentence
        return None


def launch(order: Order, seconds: float) -> Ended:
    """One process for one order, ended by force after `seconds`, with whatever it has started."""
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
    """End a process and its children if it still runs; they are a group of their own."""
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
