"""The s/im columns of the paper's tables with random weights: complete images by every row, in turn in one process."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from eval.errors import RunError
from eval.speed.bench.cells import Cell
from eval.speed.bench.speed import merged_tables, speed_rows, write_speed
from scripts.bench_cases.cell import let_go, measure_cell
from scripts.command_line.entry import CONF, say
from scripts.gpu_stages.cells import Rows, Task, measure_all
from scripts.gpu_stages.order import Order
from scripts.jobs.shipped import shipped_options

OURS = "retom.ReToM"
MARGIN = 1.1  # time of an image relative to its denoiser calls, at most


def seconds(order: Order) -> None:
    """Measure the rows; speed_<card>.csv, .json and .md."""
    sizes = order.sizes
    paper = merged_tables(map(paper_rows, sizes["tables"]))
    specs = contenders([row["method"] for row in paper], sizes["backends"], sizes["first"])
    methods = {name: spec["method"] for name, spec in specs.items()}
    provenance = {**order.provenance, "device": {**order.provenance["device"], "dtype": sizes["dtype"]}}

    def write(rows: Rows, stage: Mapping[str, Any]) -> None:
        made = speed_rows(paper, rows, methods)
        write_speed(Path(order.results), order.card, made, provenance, {"gpu": dict(sizes)}, stage)

    measure_all(order, tasks(order, specs), specs, write)


def paper_rows(table: str) -> list[dict[str, Any]]:
    """The rows of conf/experiment/<table>.yaml with the paper's labels and values. RunError: it has no such table."""
    path = CONF / "experiment" / f"{table}.yaml"
    tables = OmegaConf.to_container(OmegaConf.load(path)).get("tables") if path.is_file() else None
    if not tables or table not in tables:
        raise RunError(f"seconds.tables has {table!r}, but {path.relative_to(CONF)} has no table of that name")
    return tables[table]["rows"]


def contenders(methods: Sequence[str], backends: Sequence[str], first: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The bench's methods by name: each row's on the first backend, then ReToM's on the others.

    Those of `first` come before all others, since the last ones are left out if time is short.
    """
    ours = [name for name in methods if shipped_options(name)["_target_"] == OURS]
    found = {name: {"method": name, "backend": backends[0]} for name in methods}
    found |= {f"{name}_{backend}": {"method": name, "backend": backend} for backend in backends[1:] for name in ours}
    return dict(sorted(found.items(), key=lambda item: item[1]["method"] not in first))


def tasks(order: Order, specs: Mapping[str, Mapping[str, Any]]) -> list[Task]:
    """The cells: all rows except slow ones, each slow row separately, and some rows with naive attention."""
    sizes = order.sizes
    fast = Cell(
        "pipeline",
        tuple(name for name in specs if name not in sizes["apart"]),
        sizes["rounds"],
        warmup=sizes["warmup"],
        dtype=sizes["dtype"],
        batch=1,
        device=order.device,
        **{name: sizes[name] for name in ("model", "pixels", "steps")},
    )
    slow = [dataclasses.replace(fast, methods=(name,), rounds=1, warmup=0) for name in sizes["apart"]]
    naive = tuple(name for name, spec in specs.items() if spec["method"] in sizes["naive"])
    return [
        Task(fast),
        *(Task(cell, lambda cell=cell: too_slow(order, cell, specs)) for cell in slow),
        Task(dataclasses.replace(fast, methods=naive, attention="naive")),
    ]


def too_slow(order: Order, image: Cell, specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Columns for the row of a slow method if, by one denoiser call, an image does not fit in the time; else None.

    The call includes both halves of guidance.
    """
    call = dataclasses.replace(image, level="denoiser", batch=2, steps=None)
    say(f"{call.title}: {image.methods[0]}, one call")
    (row,) = measure_cell(call, specs, trusted=order.trusted, memory=False)
    let_go(order.device)
    if row["status"] != "ok":
        return {"status": row["status"], "error": row["error"]}
    estimate, left = row["seconds"] * image.steps, order.limit.left
    if MARGIN * estimate < left:
        return None
    return {
        "error": f"not measured: an image takes about {estimate:.3g} s ({image.steps} times one denoiser call of "
        f"{row['seconds']:.3g} s), {left:.3g} s were left",
        "s_per_im_estimate": estimate,
    }
