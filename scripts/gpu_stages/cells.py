"""Measures the cells of a stage in order of importance until the time is up, and writes files after each cell."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from eval.errors import RunError
from eval.speed.bench.cells import Cell, expand
from eval.speed.bench.stage_file import StageFile, read_stage, stage_facts
from eval.speed.bench.table import write_bench
from scripts.bench_cases.cell import let_go, measure_cell, unmeasured
from scripts.bench_cases.names import check_name
from scripts.command_line.entry import CONF, say
from scripts.gpu_stages.order import Order

Rows = list[dict[str, Any]]
Write = Callable[[Rows, Mapping[str, Any]], object]
Specs = Mapping[str, Mapping[str, Any] | None]


class DeviceLostError(RunError):
    """The CUDA device no longer responds to this process (illegal access, for example); a new one can continue."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A cell to measure. why_not: called before measuring; returns a row's columns to use instead, or None."""

    cell: Cell
    why_not: Callable[[], dict[str, Any] | None] = lambda: None


def bench(order: Order) -> None:
    """Measure the cells of a stage of sites or denoisers; bench_<card>_<stage>.csv, .json and .md."""
    specs = {**bench_methods(), **order.methods}
    cells = expand(order.sizes["cells"], order.device)
    for name in (name for cell in cells for name in cell.methods):
        check_name(name, specs)
    dtypes = ",".join(sorted({cell.dtype for cell in cells}))
    provenance = {**order.provenance, "device": {**order.provenance["device"], "dtype": dtypes}}

    def write(rows: Rows, stage: Mapping[str, Any]) -> None:
        name = order.path.stem.removeprefix("bench_")
        write_bench(Path(order.results), name, rows, provenance, {"gpu": dict(order.sizes)}, stage)

    measure_all(order, list(map(Task, cells)), specs, write)


def bench_methods() -> dict[str, Any]:
    """The methods of conf/bench.yaml."""
    return OmegaConf.to_container(OmegaConf.load(CONF / "bench.yaml").bench.methods, resolve=True)


def measure_all(order: Order, tasks: Sequence[Task], specs: Specs, write: Write) -> None:
    """Measure what is missing and write all rows after every cell; those not measured are `missing`.

    DeviceLostError if the device was lost in a cell; the rows of that cell are written as failed.
    """
    before = StageFile() if order.again else read_stage(order.path).of(order.same)
    known = [_known_rows(task.cell, before, order.given_up) for task in tasks]

    def save(running: str | None = None) -> None:
        write([row for rows in known for row in rows], stage_facts(order.same, running))

    save()
    spans: list[float] = []
    for place in _turns(tasks, known, before, order.given_up):
        cell = tasks[place].cell
        reason = _no_time(order, spans) or tasks[place].why_not()
        if reason is not None:
            known[place] = [{**row, **reason} for row in unmeasured(cell, reason["error"])]
            save()
            continue
        say(f"{cell.title}: {len(cell.methods)} methods, {order.limit.left:.0f} s left")
        save(cell.title)
        started = time.monotonic()
        rows = measure_cell(
            cell, specs, trusted=order.trusted, memory=order.sizes.get("memory", False), limit=order.limit
        )
        spans.append((time.monotonic() - started) / len(cell.methods))
        if _good(rows) >= _good(known[place]):
            known[place] = rows
        lost = _lost(order.device)
        save(cell.title if lost else None)
        if lost:
            raise DeviceLostError(f"the CUDA device was lost in {cell.title}: {lost}")
        let_go(cell.device)


def _known_rows(cell: Cell, before: StageFile, given_up: Mapping[str, str]) -> Rows:
    """The rows of a cell from earlier runs; methods without one get a row with the reason."""
    found = {row["method"]: row for row in before.measured(cell.title, cell.methods)}
    rows = unmeasured(cell, given_up.get(cell.title, "not measured: the time was up before its turn"))
    if cell.title in given_up:
        earlier = {row["method"]: row for row in before.rows if row["title"] == cell.title}
        failed = {"status": "failed"}
        rows = [earlier[row["method"]] if earlier.get(row["method"], {}).get("status") == "failed" else row | failed
                for row in rows]  # fmt: skip
    return [found.get(row["method"], row) for row in rows]


def _turns(tasks: Sequence[Task], known: Sequence[Rows], before: StageFile, given_up: Mapping[str, str]) -> list[int]:
    """Indices of the tasks to do, in order: first those never measured, then those that failed before."""
    open_ones = [place for place, task in enumerate(tasks)
                 if _good(known[place]) < len(task.cell.methods) and task.cell.title not in given_up]  # fmt: skip
    return sorted(open_ones, key=lambda place: before.failed(tasks[place].cell.title))


def _good(rows: Rows) -> int:
    return sum(row["status"] == "ok" for row in rows)


def _no_time(order: Order, spans: Sequence[float]) -> dict[str, Any] | None:
    """The reason to begin no further cell: not even two methods of the fastest one so far would fit. Else None."""
    needed = 2 * min(spans, default=0.0)
    if order.limit.left > needed:
        return None
    return {"error": f"not measured: the time was up before its turn ({order.limit.left:.1f} s left)"}


def _lost(device: str) -> str | None:
    """Why the device does not respond to this process, or None if it does."""
    if device == "cpu":
        return None
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        return " ".join(str(error).split())
    return None
