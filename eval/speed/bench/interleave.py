"""Methods timed in turn within one process, so that disturbances of the machine affect all of them alike."""

import contextlib
import dataclasses
import gc
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from eval.interrupts import raise_if_pressed
from eval.speed.bench.budget import Allowance, Limit
from eval.speed.bench.probes import Graphs


@dataclasses.dataclass(frozen=True)
class Case:
    """One method in a cell.

    call: one timed call. begin: makes the next call the first of a generation, so that it plans. period: calls from
    one plan to the next. planned: seconds of planning since the last query, if measurable. denoiser: for a pipeline
    call, the module whose attention is reported.
    """

    name: str
    call: Callable[[], object]
    begin: Callable[[], None] = lambda: None
    period: int = 1
    planned: Callable[[], float | None] = lambda: None
    denoiser: torch.nn.Module | None = None


@dataclasses.dataclass
class Samples:
    """Measurements of one method: `seconds` of every call in order (the first one plans), or the error.

    planning: seconds of planning over all calls, None if not measurable. graphs: compiled during warm-up.
    recompiled: graphs compiled after that.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    planning: float | None = None
    graphs: Graphs | None = None
    recompiled: int = 0
    error: Exception | None = None


def interleave(
    cases: Sequence[Case], *, rounds: int, warmup: int, device: str, seed: int = 0, limit: Limit | None = None
) -> dict[str, Samples]:
    """Warm up every case by itself, then call each once per round, in a new random order each round.

    A case that raises is left out of the remaining rounds and its error is stored; the others continue. Garbage
    collection is off meanwhile, as in timeit. With a limit, cases that do not fit get a NoTimeLeftError and rounds end
    in time.
    """
    samples = {case.name: Samples() for case in cases}
    generator = np.random.default_rng(seed)
    allowance = Allowance(limit and dataclasses.replace(limit, least=min(limit.least, rounds)))
    with torch.no_grad(), _no_collection():
        for case in cases:
            with _store_error(samples[case.name]):
                allowance.check()
                allowance.admitted(*_warm_up(case, samples[case.name], warmup, device))
        for _ in range(rounds):
            if not allowance.has_another_round:
                break
            for place in generator.permutation(len(cases)):
                case = cases[place]
                if samples[case.name].error is None:
                    with _store_error(samples[case.name]):
                        _sample(case, samples[case.name], device)
        for case in cases:
            if samples[case.name].error is None:
                with _store_error(samples[case.name]):
                    samples[case.name].planning = case.planned()
    return samples


def timed(call: Callable[[], object], device: str) -> float:
    """Seconds of one call, with the device synchronised before and after."""
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: str) -> None:
    """Wait for a CUDA device; no effect on the CPU."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def _warm_up(case: Case, sample: Samples, warmup: int, device: str) -> tuple[float, float]:
    """Seconds of the complete warm-up and of its last call."""
    before, started = Graphs.now(), time.monotonic()
    case.begin()
    seconds = [timed(case.call, device) for _ in range(warmup)]
    sample.graphs = Graphs.now() - before
    case.begin()
    case.planned()
    return time.monotonic() - started, seconds[-1] if seconds else 0.0


def _sample(case: Case, sample: Samples, device: str) -> None:
    before = Graphs.now()
    seconds = timed(case.call, device)
    sample.recompiled += (Graphs.now() - before).compiled
    sample.seconds.append(seconds)


@contextlib.contextmanager
def _store_error(sample: Samples) -> Iterator[None]:
    """Store the error that a case raises: it becomes the row of that case, and the run's exit status."""
    try:
        yield
    except Exception as error:  # not ignored: reported in the row, counted in the exit status
        raise_if_pressed()
        sample.error = emptied(error)


def emptied(error: Exception) -> Exception:
    """`error` with the locals of its frames cleared (also those of its causes), so that no tensor stays referenced."""
    at: BaseException | None = error
    while at is not None:
        traceback.clear_frames(at.__traceback__)
        at = at.__cause__ or at.__context__
    return error


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
