"""Time methods in turn; writes results/bench_<device>.csv.

Grids other than the two main ones have a name that follows the device's in their files. So do the names of cells if
`bench.only` chooses some: a partial result never replaces a complete one.

Examples:
    python -m scripts.bench
    python -m scripts.bench bench=cuda
    python -m scripts.bench bench.only=[level1]
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from eval.checks import check_flag, check_integer
from eval.devices import check_device, check_device_name
from eval.errors import RunError
from eval.speed.bench.cells import Cell, expand
from eval.speed.bench.table import write_bench
from scripts.bench_cases.names import check_name
from scripts.command_line.entry import ROOT, say, work_on_each


def main() -> int:
    """Measure every cell and write the tables. Returns 1 if a row failed."""

    def work(composed: DictConfig, choices: dict[str, str]) -> int:
        return run_bench(OmegaConf.to_container(composed, resolve=True))

    return work_on_each(work, "bench")


def run_bench(config: Mapping[str, Any]) -> int:
    """Measure the cells of a composed configuration; rewrites its tables after every cell. Returns 1 if a row failed.

    ValueError, RunError: errors that can be found before anything is measured.
    """
    bench = config["bench"]
    check_device_name(bench["device"])
    check_device(bench["device"])
    check_flag("memory", bench["memory"])
    cells = expand(_chosen(bench), bench["device"])
    for cell in cells:  # checked here, since a cell may be reached only after an hour
        for name in cell.methods:
            check_name(name, bench["methods"])
    if bench["threads"] is not None:
        check_integer("threads", bench["threads"], 1)
    import torch

    before = torch.get_num_threads()
    if bench["threads"] is not None:
        torch.set_num_threads(bench["threads"])
    try:
        rows, paths = _measure(cells, config)
    finally:
        torch.set_num_threads(before)
    print(paths[-1].read_text(encoding="utf-8"), flush=True)
    say(f"written: {', '.join(map(str, paths))}")
    failed = [row for row in rows if row["status"] == "failed"]
    for row in failed:
        say(f"{row['method']} failed: {row['title']}: {row['error']}")
    return int(bool(failed))


def _chosen(bench: Mapping[str, Any]) -> dict[str, Any]:
    """The families of cells in `only`, or all of them."""
    families = {name: family for name, family in (bench["cells"] or {}).items() if family}
    if not isinstance(bench["only"], list | None):
        raise RunError(f"bench.only must be a list of cells, [{bench['only']}] for one, or null for all")
    unknown = [name for name in bench["only"] or () if name not in families]
    if unknown:
        raise RunError(f"bench.only names {unknown[0]}, which is not a cell; allowed are {', '.join(families)}")
    if not families:
        raise RunError("there is no cell to measure; choose a bench with bench=cpu or bench=cuda, or set bench.cells")
    return {name: families[name] for name in bench["only"] or families}


def _measure(cells: list[Cell], config: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[Path]]:
    from eval.provenance import collect
    from scripts.bench_cases.cell import let_go, measure_cell

    bench = config["bench"]
    provenance = collect(root=ROOT, device=bench["device"], dtype=",".join(sorted({cell.dtype for cell in cells})))
    rows: list[dict[str, Any]] = []
    paths: list[Path] = []
    for place, cell in enumerate(cells):
        say(f"[{place + 1}/{len(cells)}] {cell.title} (load {os.getloadavg()[0]:.1f})")
        rows += measure_cell(cell, bench["methods"], trusted=config["trusted"], memory=bench["memory"])
        let_go(cell.device)
        paths = write_bench(Path(config["results"]), _name(bench), rows, provenance, {"bench": bench})
    return rows, paths


def _name(bench: Mapping[str, Any]) -> str:
    """The name in file names: the device, the grid's own name if it has one, and the chosen cells."""
    return "_".join([bench["device"].partition(":")[0], *filter(None, [bench.get("name")]), *(bench["only"] or ())])


if __name__ == "__main__":
    sys.exit(main())
