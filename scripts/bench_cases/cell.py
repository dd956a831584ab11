"""Measures one cell: patches a copy of the model with each method, times them in turn, probes them, returns rows."""

import dataclasses
import gc
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from eval.errors import RunError
from eval.interrupts import raise_if_pressed
from eval.speed.attention import attention_kernels, first_call_attention
from eval.speed.bench.budget import Limit, NoTimeLeftError
from eval.speed.bench.cells import Cell
from eval.speed.bench.denoisers import denoiser_inputs, free_bytes, random_denoiser, random_pipe, sharing_copy
from eval.speed.bench.figures import ratios, spread, time_per_call
from eval.speed.bench.interleave import Case, Samples, emptied, interleave
from eval.speed.bench.probes import kernel_launches, peak_bytes
from eval.speed.idle import other_gpu_processes
from scripts.bench_cases.denoiser import denoiser_case, pipeline_case
from scripts.bench_cases.methods import Contender, contender
from scripts.bench_cases.site import GivenAttention, site_case, site_inputs, site_model
from scripts.command_line.entry import is_user_error

Specs = Mapping[str, Mapping[str, Any] | None]
Build = Callable[[Contender], tuple[Case, Callable[[], list[dict]]]]


@dataclasses.dataclass
class Entry:
    """One method in a cell, from its name to its measurements; `error` stops it at any point."""

    name: str
    contender: Contender | None = None
    case: Case | None = None
    report: Callable[[], list[dict]] | None = None
    samples: Samples | None = None
    probes: dict[str, Any] = dataclasses.field(default_factory=dict)
    error: Exception | None = None

    def attempt(self, work: Callable[[], None]) -> None:
        """Do `work` unless something failed before; an exception becomes the row's error."""
        if self.error is not None:
            return
        try:
            work()
        except Exception as error:  # not ignored: reported in the row, counted in the exit status
            raise_if_pressed()
            self.error = emptied(error)


def measure_cell(
    cell: Cell,
    specs: Specs,
    *,
    trusted: Sequence[str] = (),
    memory: bool = True,
    limit: Limit | None = None,
) -> list[dict[str, Any]]:
    """One row for every method of the cell, in order; methods as in `methods.contender`.

    trusted: packages that methods may be from, in addition to this project's.
    memory: whether to measure peak memory, which on the CPU takes one slow call of each method.
    limit: the deadline. With less time, fewer rounds are made, methods without time are `missing`, probes are skipped.
    """
    entries = [Entry(name) for name in cell.methods]
    try:
        build = _builder(cell)
    except (ValueError, RuntimeError, RunError) as error:
        raise_if_pressed()
        return [_row(cell, dataclasses.replace(entry, error=error), {}) for entry in entries]
    for entry in entries:
        entry.attempt(
            lambda entry=entry: _prepare(entry, contender(entry.name, specs, cell.ratio, trusted), build, cell, limit)
        )
    cases = [entry.case for entry in entries if entry.error is None]
    samples = interleave(cases, rounds=cell.rounds, warmup=cell.warmup, device=cell.device, limit=limit)
    for entry in entries:
        if entry.error is None:
            entry.samples = samples[entry.name]
            entry.error = entry.samples.error
        entry.attempt(lambda entry=entry: _check_rounds(entry))
        entry.attempt(lambda entry=entry: _check_merged(entry))
        if limit is None or limit.left:
            entry.attempt(lambda entry=entry: _probe(cell, entry, memory))
    good = [entry for entry in entries if entry.error is None]
    compared = ratios(
        {entry.name: entry.samples.seconds for entry in good},
        {entry.name: entry.case.period for entry in good},
        [entry.name for entry in good if entry.contender.alike],
    )
    return [_row(cell, entry, compared.get(entry.name, {})) for entry in entries]


def _builder(cell: Cell) -> Build:
    """How a contender of this cell becomes a case; the weights are created once and shared."""
    if cell.level == "site":
        _check_naive_fits(cell)
        site, inputs = site_model(cell), site_inputs(cell)
        return lambda contender: site_case(cell, contender, sharing_copy(site), inputs)
    if cell.level == "denoiser":
        denoiser = random_denoiser(cell)
        inputs = denoiser_inputs(cell, denoiser)
        return lambda contender: denoiser_case(cell, contender, sharing_copy(denoiser), inputs)
    pipe = random_pipe(cell)
    return lambda contender: pipeline_case(cell, contender, pipe)


def _prepare(entry: Entry, method: Contender, build: Build, cell: Cell, limit: Limit | None) -> None:
    entry.contender = method
    entry.case, entry.report = build(entry.contender)
    if entry.case.period > cell.rounds and not (limit and method.alike):
        raise ValueError(
            f"rounds must be at least the period of {entry.name}, {entry.case.period}, got {cell.rounds}; "
            "otherwise planning is counted too often"
        )


def _check_rounds(entry: Entry) -> None:
    """NoTimeLeftError if the time was up before a period was measured."""
    made, period = len(entry.samples.seconds), entry.case.period
    needed = min(period, 2) if entry.contender.alike else period
    if made < needed:
        raise NoTimeLeftError(f"not measured: the time was up after {made} rounds, {needed} are needed")


def _check_naive_fits(cell: Cell) -> None:
    """RunError if the score matrices of naive attention exceed the host's free memory, as the system would kill us."""
    if cell.attention != "naive" or cell.device != "cpu":
        return
    needed = 2 * cell.batch * cell.heads * cell.tokens**2 * getattr(torch, cell.dtype).itemsize
    free = free_bytes(cell.device)
    if needed > free:
        raise RunError(
            f"naive attention over {cell.tokens} tokens needs {needed / 1e9:.0f} GB for its scores and their softmax, "
            f"{free / 1e9:.0f} GB are free; use a smaller batch or sdpa"
        )


def _check_merged(entry: Entry) -> None:
    method, sites = entry.contender.method, entry.report()
    if method.merges and not any(_merges(site) for site in sites):
        raise RunError(f"{entry.name} merged nothing at any of its {len(sites)} sites; raise its ratio or its depth")


def _probe(cell: Cell, entry: Entry, memory: bool) -> None:
    """Memory and launches of a call that plans and of one that does not, and the attention kernels."""
    case, probes = entry.case, entry.probes
    case.begin()
    probes["attention_kernel"] = ", ".join(_attention(case, cell.device)) or None
    if memory:
        case.begin()
        probes["peak_bytes"] = peak_bytes(case.call, cell.device)
        if cell.level == "site":
            size = cell.batch * cell.tokens * cell.channels * getattr(torch, cell.dtype).itemsize
            probes["peak_to_input"] = probes["peak_bytes"] / size
            if cell.mode == "eager":
                probes["merging_to_input"] = _merging_bytes(cell, entry.contender) / size
    if cell.level != "pipeline":
        case.begin()
        probes["launches_planning"] = kernel_launches(case.call, cell.device)
        if case.period > 1:
            probes["launches_reusing"] = kernel_launches(case.call, cell.device)


def _attention(case: Case, device: str) -> list[str]:
    if case.denoiser is not None:
        return first_call_attention(case.denoiser, case.call, device)
    return attention_kernels(case.call, device, cuda_kernels=True)


def _merging_bytes(cell: Cell, contender: Contender) -> int:
    """Peak bytes of planning, merging and unmerging, with an attention that allocates nothing."""
    site = site_model(cell)
    site.site.transformer_blocks[0].attn1 = GivenAttention()
    case, _ = site_case(cell, contender, site, site_inputs(cell)[:1])
    with torch.no_grad():
        case.call()
    case.begin()
    return peak_bytes(case.call, cell.device)


def _row(cell: Cell, entry: Entry, compared: Mapping[str, float | None]) -> dict[str, Any]:
    row = _place(cell, entry) | dict(compared) | entry.probes
    if entry.error is not None:
        message = " ".join(str(entry.error).split()) or type(entry.error).__name__
        status = "missing" if isinstance(entry.error, NoTimeLeftError) else "failed"
        row |= {"status": status, "error": message, "samples": entry.samples.seconds if entry.samples else []}
        if not is_user_error(entry.error):
            row["traceback"] = "".join(traceback.format_exception(entry.error))
        return row
    samples, sites = entry.samples, entry.report()
    seconds = time_per_call(samples.seconds, entry.case.period, alike=entry.contender.alike)
    row |= {
        "status": "ok",
        "seconds": seconds,
        "iqr": spread(samples.seconds),
        "fastest": min(samples.seconds),
        "calls": len(samples.seconds),
        "planning_share": None if samples.planning is None else samples.planning / sum(samples.seconds),
        "merged": _tokens_left(sites),
        "sites": len(sites),
        "sites_merging": sum(map(_merges, sites)),
        "samples": samples.seconds,
    }
    if cell.mode != "eager":
        row |= {
            "graphs": samples.graphs.compiled,
            "graph_breaks": samples.graphs.breaks,
            "recompiled": samples.recompiled,
        }
    if cell.level == "pipeline":
        row |= {"s_per_im": seconds / cell.batch, "images_per_s": cell.batch / seconds}
    return row


def unmeasured(cell: Cell, why: str) -> list[dict[str, Any]]:
    """The rows of a cell that was not reached: `missing`, with the reason."""
    return [_row(cell, Entry(name, error=NoTimeLeftError(why)), {}) for name in cell.methods]


def _place(cell: Cell, entry: Entry) -> dict[str, Any]:
    method = entry.contender.method if entry.contender else None
    window = getattr(method, "window", None)
    return {
        **{name: value for name, value in dataclasses.asdict(cell).items() if name not in ("methods", "warmup")},
        "title": cell.title,
        "method": entry.name,
        "window": "/".join(map(str, window.values())) if isinstance(window, Mapping) else window,
        "period": getattr(method, "period", None),
        "backend": entry.contender.backend if entry.contender and hasattr(method, "plan") else None,
        "load_average": os.getloadavg()[0],
        "other_gpu_processes": other_gpu_processes(cell.device),
    }


def _merges(site: Mapping[str, Any]) -> bool:
    return site["merged"] is not None and site["merged"] < site["tokens"]


def _tokens_left(sites: list[dict]) -> int | None:
    """Tokens that attention ran on, over all sites; None if no site should merge."""
    return sum(site["merged"] for site in sites) if sites else None


def let_go(device: str) -> None:
    """Free the memory of a measured cell that is no longer referenced, so that the next one starts equally.

    Patched modules are reference cycles, which only the collector frees.
    """
    gc.collect()
    if "torch._dynamo" in sys.modules:  # otherwise nothing was compiled, and the import is slow
        torch._dynamo.reset()
    if device != "cpu":
        torch.cuda.empty_cache()
