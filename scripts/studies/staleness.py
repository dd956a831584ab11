"""ReToM watched while it generates: how many windows would by now choose another representative."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas
import torch

import retom
from eval.errors import RunError
from eval.generation.calls import call_pipeline
from eval.generation.pipelines import pipe_identity
from eval.provenance import collect
from eval.report.page import folder_of
from eval.report.studies.staleness import Staleness
from eval.run.row import Row
from retom.plans.windows import tile
from scripts.command_line.entry import ROOT
from scripts.jobs.session import Session

GROUP = ["period", "step", "age", "site", "layer_type"]


def measured(row: Row, session: Session) -> tuple[Staleness, Path]:
    """The row's staleness with its provenance, and the folder that it belongs in."""
    table = staleness(row, session)
    config = {key: row.config[key] for key in ("model", "sampler", "method", "backend", "prompts")}
    run = {"model": pipe_identity(session.pipeline(row.model, row.sampler))}
    provenance = collect(root=ROOT, device=row.sampler.device, dtype=row.sampler.dtype, run=run)
    found = Staleness(f"{row.model.name}_{row.hash}", config, provenance, table)
    return found, folder_of(row.results, row.metrics.profile)


def staleness(row: Row, session: Session) -> pandas.DataFrame:
    """One row per step and site: `age` of the plan in steps, `windows` compared, `share` that would differ.

    Over all images of the row's prompts, both halves of guidance. RunError for a method other than ReToM.
    """
    if type(row.method) is not retom.ReToM or row.method.destination == "random":
        raise RunError(
            "staleness needs a representative that is reused: choose method=retom, or one with the same rule"
        )
    pipe, watch = session.pipeline(row.model, row.sampler), watching(row.method)
    with retom.patched(pipe, watch, backend=row.backend):
        for item in row.prompts.items():
            retom.set_seeds(pipe, [item.seed])
            call_pipeline(pipe, [item.prompt], [item.seed], row.sampler)
    lines = [(*key, windows, changed / windows) for key, (changed, windows) in sorted(watch.counts.items())]
    return pandas.DataFrame(lines, columns=[*GROUP, "windows", "share"])


def watching(method: retom.ReToM) -> retom.ReToM:
    """The same ReToM, which plans at every step, uses the plan of its period, and counts in `counts`."""

    class Watching(retom.ReToM):
        """Asked at every step; answers with the plan in force."""

        def plan(self, metric: torch.Tensor, grid: tuple[int, int], context: retom.SiteContext) -> Any:
            fresh = super().plan(metric, grid, context)
            if fresh is None or fresh.is_identity:
                return fresh
            window = self.window if isinstance(self.window, int) else self.window[context.layer_type]
            age = context.step % method.period
            if age == 0:
                context.memory["plan"] = fresh
            kept = context.memory["plan"]
            now, then = (destinations(plan, grid, window) for plan in (fresh, kept))
            counted = self.counts[(method.period, context.step, age, context.name, context.layer_type)]
            counted[0] += int((now != then).sum())
            counted[1] += now.numel()
            return kept

    watch = object.__new__(Watching)
    vars(watch).update(vars(method) | {"period": 1, "counts": defaultdict(lambda: [0, 0])})
    return watch


def destinations(plan: retom.MergePlan, grid: tuple[int, int], window: int) -> torch.Tensor:
    """The destination of every window that merges something, [B, windows]: the token of the window's fullest slot."""
    found = []
    size = torch.zeros_like(plan.dst_index).scatter_add_(1, plan.assign, torch.ones_like(plan.assign))
    for region in tile(grid, window):
        slots = plan.assign[:, region.tokens(grid, plan.assign.device)]  # [B, windows, n]
        members = size.unsqueeze(1).expand(-1, slots.shape[1], -1).gather(2, slots)
        if int(members.max()) == 1:
            continue
        fullest = slots.gather(2, members.argmax(dim=2, keepdim=True))[..., 0]  # [B, windows]
        found.append(plan.dst_index.gather(1, fullest))
    return torch.cat(found, dim=1)
