"""Records similarities and merged tokens in one window of every site while an image is generated."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import retom
from eval.errors import RunError
from eval.generation.calls import call_pipeline
from eval.generation.images import to_uint8
from eval.generation.pipelines import pipe_identity
from eval.provenance import collect
from eval.records import pixel_hash
from eval.report.studies.recording import ALONE, DESTINATION, MERGED, Panel, Recording, scaled_steps
from eval.run.row import Row
from retom.plans.windows import tile
from scripts.command_line.entry import ROOT
from scripts.jobs.session import Session
from scripts.studies.look import Look

METRIC_WORDS = {"attn_input": "the attention's input", "block_input": "the block's input", "keys": "the keys"}


def record(row: Row, session: Session, look: Look, *, prompt: str, seed: int) -> Recording:
    """Generate one image with the row's method and record what `look` asks for. RunError: the method plans nothing."""
    if not isinstance(row.method, retom.TokenMerger):
        raise RunError(f"method {row.name} makes no plan to look at; choose one that does, as method=retom")
    pipe = session.pipeline(row.model, row.sampler)
    recorder = Recorder(row.method, look, scaled_steps(list(look.steps), look.of, row.sampler.steps), [])
    with retom.patched(pipe, recorder, backend=row.backend):
        retom.set_seeds(pipe, [seed])
        image = call_pipeline(pipe, [prompt], [seed], row.sampler, output_type="np").images[0]
    config = {key: row.config[key] for key in ("model", "sampler", "method", "backend")}
    named = pixel_hash(config | {"prompts": {"prompt": prompt, "seed": seed, "look": dataclasses.asdict(look)}})
    run = {"model": pipe_identity(pipe)}
    return Recording(
        name=f"{row.model.name}_{row.name}-{named}",
        method=row.name,
        prompt=prompt,
        seed=seed,
        of=look.of,
        steps=row.sampler.steps,
        measured=f"measured on {METRIC_WORDS[row.method.metric]}, in the half with the prompt",
        config=config,
        provenance=collect(root=ROOT, device=row.sampler.device, dtype=row.sampler.dtype, run=run),
        image=to_uint8(image)[0],
        panels=tuple(recorder.panels),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Recorder(retom.TokenMerger):
    """The method `inner`, asked when it would be, and watched at every call: `panels` are recorded at those of `calls`.

    calls: {denoiser call: step asked for}. Of the rows of a batch the last is looked at: with guidance, the one with
    the prompt.
    """

    inner: retom.TokenMerger
    look: Look
    calls: Mapping[int, int]
    panels: list[Panel]

    def __post_init__(self):
        for name in ("metric", "targets", "share_plan", "needs_output", "batch_limit"):
            object.__setattr__(self, name, getattr(self.inner, name))

    def plan(self, metric: torch.Tensor, grid: tuple[int, int], context: retom.SiteContext) -> Any:
        """The plan that `inner` has in force."""
        kept = context.memory.setdefault(Recorder, {})
        if context.step == 0 or self.inner.due(context.step):
            kept["plan"], kept["step"] = self.inner.plan(metric, grid, context), context.step
        if context.step in self.calls:
            self.panels.append(self._panel(metric[-1], grid, context, kept))
        return kept["plan"]

    def _panel(self, tokens: torch.Tensor, grid: tuple[int, int], context: retom.SiteContext, kept: Mapping) -> Panel:
        side = self._side(context.layer_type)
        window = window_at(grid, side, self.look.point)
        top, left, height, width = window
        inside = tokens.float().unflatten(0, grid)[top : top + height, left : left + width].flatten(0, 1)  # [n, C]
        unit = torch.nn.functional.normalize(inside, dim=-1)
        return Panel(
            site=context.name,
            layer=context.layer,
            layer_type=context.layer_type,
            grid=grid,
            asked=self.calls[context.step],
            step=context.step,
            planned=kept["step"],
            side=side,
            window=window,
            similarity=(unit @ unit.T).clamp(-1, 1).cpu().numpy(),
            state=token_states(kept["plan"], grid),
        )

    def _side(self, layer_type: str) -> int:
        """Side of the method's windows, or that which was given for a method without windows."""
        for name in ("window", "sy"):
            own = getattr(self.inner, name, None)
            own = own[layer_type] if isinstance(own, Mapping) else own
            if own is not None:
                return own
        if self.look.window is None:
            raise RunError(f"{type(self.inner).__name__} has no windows: say which to look into, as figure3.window=8")
        return self.look.window


def window_at(grid: tuple[int, int], side: int, point: tuple[float, float]) -> tuple[int, int, int, int]:
    """The window (top, left, height, width) in tokens that holds `point`, shares of the image's height and width."""
    row, column = (min(int(share * length), length - 1) for share, length in zip(point, grid, strict=True))
    for region in tile(grid, side):
        down, across = (row - region.top) // region.height, (column - region.left) // region.width
        if 0 <= down < region.rows and 0 <= across < region.columns:
            return region.top + down * region.height, region.left + across * region.width, region.height, region.width
    raise AssertionError(f"windows of side {side} do not cover ({row}, {column}) of {grid}")


def token_states(plan: Any, grid: tuple[int, int]) -> np.ndarray:
    """What each token of the last row of a plan is, [H, W] uint8. A soft plan merges every token; no plan, none."""
    state = np.full(grid[0] * grid[1], ALONE, dtype=np.uint8)
    if plan is None or plan.is_identity:
        return state.reshape(grid)
    destinations = plan.dst_index[-1].cpu().numpy()
    if isinstance(plan, retom.MergePlan):
        slots = plan.assign[-1].cpu().numpy()
        shared = np.bincount(slots, minlength=plan.num_merged) > 1
        state[shared[slots]] = MERGED
        state[destinations[shared]] = DESTINATION
    else:
        state[:] = MERGED
        state[destinations] = DESTINATION
    return state.reshape(grid)
