"""Methods timed in turn within one process, so that whatever disturbs the machine disturbs all of them alike."""

import contextlib
import dataclasses
import gc
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from eval.bench.budget import Allowance, Limit
from eval.bench.probes import Graphs
from eval.interrupts import raise_if_pressed


@dataclasses.dataclass(frozen=True)
class Case:
    """One method in a cell.

    call: one timed call. begin: makes the next call the first of a generation, so that it plans. period: calls from
    one planning to the next. planned: seconds spent planning since it was last asked, where that can be told.
    denoiser: of a call that is a whole pipeline's, the module whose attention is reported.
    """

    name: str
    call: Callable[[], object]
    begin: Callable[[], None] = lambda: None
    period: int = 1
    planned: Callable[[], float | None] = lambda: None
    denoiser: torch.nn.Module | None = None


@dataclasses.dataclass
class Samples:
    """What was seen of one method: `seconds` of every call in order (the first one plans), or why there are none.

    planning: seconds spent planning over all calls, None where it cannot be told. graphs: compiled while warming up.
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
    """Warm every case up by itself, then call each once a round, in an order drawn anew for every round.

    A case that raises is left out from there on and keeps its error; the others go on. The garbage collector is off
    meanwhile, as in timeit. With a limit the cases that do not fit have a NoTimeLeftError, and rounds end in time.
    """
    samples = {case.name: Samples() for case in cases}
    generator = np.random.default_rng(seed)
    allowance = Allowance(limit and dataclasses.replace(limit, least=min(limit.least, rounds)))
    with torch.no_grad(), _no_collection():
        for case in cases:
            with _kept(samples[case.name]):
                allowance.check()
                allowance.admitted(*_warm_up(case, samples[case.name], warmup, device))
        for _ in range(rounds):
            if not allowance.has_another_round:
                break
            for place in generator.permutation(len(cases)):
                case = cases[place]
                if samples[case.name].error is None:
                    with _kept(samples[case.name]):
                        _sample(case, samples[case.name], device)
        for case in cases:
            if samples[case.name].error is None:
                with _kept(samples[case.name]):
                    samples[case.name].planning = case.planned()
    return samples


def timed(call: Callable[[], object], device: str) -> float:
    """Seconds of one call, with the device idle before and after."""
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: str) -> None:
    """Wait for a CUDA device; nothing to do on the CPU."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def _warm_up(case: Case, sample: Samples, warmup: int, device: str) -> tuple[float, float]:
    """Seconds of the whole warm-up and of its last call."""
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
def _kept(sample: Samples) -> Iterator[None]:
    """Keep what a case raises: it becomes the row of that case, and the run's exit status."""
    try:
        yield
    except Exception as error:  # not passed over: told in the row, counted in the exit status
        raise_if_pressed()
        sample.error = emptied(error)


def emptied(error: Exception) -> Exception:
    """`error`, whose frames hold no local any more and so no tensor of the call that failed; nor do its causes'."""
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
