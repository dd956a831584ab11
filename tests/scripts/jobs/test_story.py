"""A run reads as one line: which files one enters from run_row.py when following a row, and how often one goes back.

A file is entered when run_row.py calls one of its functions, directly or through `with` or a callback of the processes.
Not counted are attributes (`row.folder`), the processes themselves, and what the entered functions call in turn.
A climb is a call into the room of a step that the line had left before; the folder on disk and the method on the model
are there for all steps.
"""

import dis
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

from scripts.jobs.run_row import run_row

ROOT = Path(__file__).parents[3]
FOLDERS = tuple(f"{ROOT / folder}/" for folder in ("scripts", "eval", "baselines", "retom"))
LINE, PROCESSES = "scripts/jobs/run_row.py", "scripts/jobs/processes.py"
AROUND = ("scripts/jobs/", "eval/records/")
STORY = [
    "eval/run/check.py",
    "eval/records/run_folder.py",
    "eval/records/lock.py",
    "eval/run/due.py",
    "scripts/jobs/patching.py",
    "eval/generation/applied.py",
    "eval/generation/shards.py",
    "eval/generation/generate.py",
    "eval/speed/measuring.py",
    "eval/run/record.py",
    "eval/run/siblings.py",
    "eval/metrics/profiles.py",
]


def test_a_row_enters_twelve_files_in_the_order_of_its_steps(smallest_row, session) -> None:
    timing = ("timing=smoke", "timing.warmup=0", "timing.images=1")
    run_row(smallest_row("method=none", *timing), session)
    entered = entered_from_line(lambda: run_row(smallest_row("method=retom", *timing), session))
    assert list(dict.fromkeys(entered)) == STORY
    rooms = [file.rpartition("/")[0] for file in entered if not file.startswith(AROUND)]
    assert climbs(rooms) <= 4


def entered_from_line(call: Callable[[], object]) -> list[str]:
    """The file of every function that the line calls during `call`, in order."""
    found: list[str] = []

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        file = ours(frame.f_code)
        if event != "call" or file in (None, LINE, PROCESSES) or is_attribute(frame.f_back):
            return
        caller = frame.f_back
        while caller is not None and ours(caller.f_code) in (None, PROCESSES):
            caller = caller.f_back
        if caller is not None and ours(caller.f_code) == LINE:
            found.append(file)

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def ours(code: CodeType) -> str | None:
    return code.co_filename[len(f"{ROOT}/") :] if code.co_filename.startswith(FOLDERS) else None


def is_attribute(caller: FrameType | None) -> bool:
    """Whether the caller reads a property."""
    return caller is not None and "ATTR" in dis.opname[caller.f_code.co_code[caller.f_lasti]]


def climbs(rooms: list[str]) -> int:
    """How often one goes back to a room after leaving it."""
    visits = [room for index, room in enumerate(rooms) if index == 0 or rooms[index - 1] != room]
    return len(visits) - len(set(visits))
