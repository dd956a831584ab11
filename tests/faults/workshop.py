"""What the fault tests work with: starting commands, watching and killing them, comparing what is left."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONG = 300.0  # seconds after which a command counts as hanging
TABLE = "{name: small, title: Small, labels: [model], metrics: [fid, clip, ssim, s_per_im], rows: [%s]}"
ROWS = "{method: none, model: Plain}, {method: retom, model: ReToM}"
COMMON = (
    "model=tiny_random",
    "sampler.steps=2",
    "sampler.batch_size=1",
    "prompts.classes=2",
    "prompts.images_per_class=1",
    "reference.per_class=2",
    "bootstrap.replicates=4",
    "timing=smoke",
    "timing.warmup=0",
    "timing.images=1",
    "results=results",
    f"+tables.small={TABLE % ROWS}",
)
RUN = ("--multirun", "method=none,retom", *COMMON)
ONE = ("method=retom", *COMMON)
TABLES = COMMON
IMAGES = 4  # of RUN: two rows of two


@dataclasses.dataclass
class Process:
    """A child of the server. `pid` is a real process id."""

    pid: int
    log: Path
    began: float
    _answers: object

    def wait(self) -> int:
        """Its exit status, -9 after kill -9. TimeoutError when it hangs."""
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the server ended")
        return int(line)

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    printed: str
    seconds: float


class Server:
    """The fork server of tests.faults.server, for as long as the `with` block."""

    def __init__(self, folder: Path):
        self.folder, self.address, self._count = folder, str(folder / "socket"), 0

    def __enter__(self) -> "Server":
        command = [sys.executable, "-m", "tests.faults.server", self.address]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._log = (self.folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, cwd=ROOT, env=environment, start_new_session=True
        )
        assert self._process.stdout.readline() == b"ready\n", (self.folder / "server.log").read_text()
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # with every child that a failed test left
        self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def start(self, module: str, *arguments: str, folder: Path, sabotage: dict | None = None, **options) -> Process:
        """Start `python -m module arguments` in `folder`. environment: what is added to it."""
        self._count += 1
        log = self.folder / f"{self._count}.out"
        request = {"module": module, "arguments": arguments, "folder": str(folder), "output": str(log)}
        request |= {"sabotage": sabotage or {}, "environment": {}, "learn": None, **options}
        answers = self._ask(request)
        return Process(int(answers.readline()), log, time.monotonic(), answers)

    def run(self, module: str, *arguments: str, folder: Path, **options) -> Done:
        """Start a command and wait for its end."""
        process = self.start(module, *arguments, folder=folder, **options)
        status = process.wait()
        return Done(status, process.printed, time.monotonic() - process.began)

    def preload(self, names: Path) -> None:
        """Import what the modules of a JSON list name, for the children to come."""
        self._ask({"preload": json.loads(names.read_text())}).readline()

    def _ask(self, request: dict):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LONG)
            connection.connect(self.address)
            connection.sendall(json.dumps(request).encode() + b"\n")
            return connection.makefile("r")


def hold_until(met: Callable[[], bool], process: Process) -> None:
    """Wait until `met`, or until the process ends."""
    limit = time.monotonic() + LONG
    while not met() and Path(f"/proc/{process.pid}").exists():
        assert time.monotonic() < limit, process.printed
        time.sleep(0.002)


def images(results: Path) -> dict[str, str]:
    """sha256 of every file of every run's images, by run and name."""
    found = sorted(results.glob("runs/*/*/images/*"))
    return {str(p.relative_to(results)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def records(results: Path) -> dict[str, dict]:
    """Every record without what two undisturbed runs differ in: seconds, date, and the state of the checkout."""
    kept = {}
    for path in sorted(results.glob("runs/*/*/record.json")):
        record = json.loads(path.read_text())
        provenance = {key: value for key, value in record["provenance"].items() if key not in ("date", "git")}
        timing = {"timed": record["timing"] is not None}
        same = {"provenance": provenance, "timing": timing, "scored_by": None}
        kept[str(path.relative_to(results))] = record | same
    return kept


def tables(results: Path) -> dict[str, list]:
    """The cells of every CSV table without the measured seconds."""
    return {str(path.relative_to(results)): _cells(path) for path in sorted(results.glob("smoke/small*.csv"))}


def _cells(path: Path) -> list[dict[str, str]]:
    import csv

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    return [{key: value for key, value in row.items() if not key.startswith(("s_per_im", "speed_up"))} for row in rows]


def temporary(results: Path) -> list[Path]:
    """Temporary files that were left."""
    return sorted(path for path in results.rglob(".*.tmp"))


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of `size` at `folder` for the block; needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def copy(whole: Path, folder: Path) -> Path:
    """A copy of an undisturbed run to do harm to."""
    shutil.copytree(whole, folder, symlinks=True)
    return folder
