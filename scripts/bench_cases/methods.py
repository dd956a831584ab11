"""From the bench's names to methods, and a clock for their planning."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

import retom
from eval.generation.compiling import compile_in_place, overwrites
from retom import TokenMerger
from scripts.bench_cases.names import check_name
from scripts.jobs.row import build
from scripts.jobs.shipped import shipped_options

BACKEND = "gather"


@dataclasses.dataclass(frozen=True)
class Contender:
    """A method of the bench with its name and the backend that executes its plans."""

    name: str
    method: Any
    backend: str

    @property
    def period(self) -> int:
        """Calls after which its work repeats."""
        return getattr(self.method, "cycle", 1)

    @property
    def alike(self) -> bool:
        """Whether the calls of a period that do not plan are alike; some methods update part of the plan in between."""
        return self.period == getattr(self.method, "period", 1)


def contender(
    name: str, specs: Mapping[str, Mapping[str, Any] | None], ratio: float, trusted: Sequence[str] = ()
) -> Contender:
    """The contender of that name.

    specs: by name, `method` (a choice of conf/method, by default the name itself), `backend`, and the options that
    differ from the shipped ones. ratio: passed to every method that has one. trusted: packages that methods may be
    from, in addition to this project's. RunError: an unknown name. ValueError: a bad value.
    """
    check_name(name, specs)
    spec = dict(specs[name] or {})
    choice, backend = spec.pop("method", name), spec.pop("backend", BACKEND)
    shipped = shipped_options(choice)
    options = shipped | ({"ratio": ratio} if "ratio" in shipped else {}) | spec
    return Contender(name, build("method", options, trusted), backend)


class Clock:
    """Accumulates the seconds spent inside `with clock`; on CUDA by events, without synchronising."""

    def __init__(self, device: str):
        self.device = device
        self._host: list[float] = []
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __enter__(self) -> "Clock":
        self._started = self._mark()
        return self

    def __exit__(self, *_: object) -> None:
        ended = self._mark()
        if self.device == "cpu":
            self._host.append(ended - self._started)
        else:
            self._events.append((self._started, ended))

    def take(self) -> float:
        """The seconds so far; resets the clock."""
        if self._events:
            torch.cuda.synchronize(self.device)
        total = sum(self._host) + sum(first.elapsed_time(last) / 1000 for first, last in self._events)
        self._host, self._events = [], []
        return total

    def _mark(self) -> Any:
        if self.device == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def clocked(method: TokenMerger, clock: Clock) -> TokenMerger:
    """The same method, equal in every attribute, whose `plan` is timed by the clock."""

    class Clocked(type(method)):
        """`plan` within the clock."""

        def plan(self, *args: Any, **kwargs: Any):
            with clock:
                return super().plan(*args, **kwargs)

    copy = object.__new__(Clocked)
    vars(copy).update(vars(method))
    return copy


def compile_patched(module: torch.nn.Module, mode: str, *, fullgraph: bool = False) -> None:
    """Compile a module patched by `retom.apply_patch` with `compile_in_place`, so that plans outlive CUDA graphs."""
    compile_in_place(module, mode, fullgraph=fullgraph)
    if not overwrites(mode):
        return
    compiled = module._compiled_call_impl

    def call(*args: Any, **kwargs: Any) -> Any:
        out = compiled(*args, **kwargs)
        retom.own_plans(module)
        return out

    module._compiled_call_impl = call
