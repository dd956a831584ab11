"""Counting steps: which denoiser call belongs to which generation.

`torch.compile` traces this, and a number that it counts up becomes an input of every graph, which CUDA graphs then
record anew for each value. So the calls of a generation are made beforehand, each naming the next, and a step is a step
along them; what was counted in ended generations is added up when somebody asks.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LONGEST = 2048  # denoiser calls; a longer generation is taken for several


class Call:
    """One denoiser call of a generation.

    number: from 0; -1 stands before the first. refresh: whether plans are made anew. planned: how often they were made
    by then. next: the call after it.
    """

    def __init__(self, number: int, refresh: bool, planned: int, chain: bytes):
        self.number = number
        self.refresh = refresh
        self.planned = planned
        self.next = self
        self._chain = chain

    def __deepcopy__(self, memo: dict) -> "Call":
        """Calls never change: copies of a model share them, and no copy follows them to their end."""
        return self

    def __reduce__(self) -> tuple:
        """Pickled by its place: one call after the other would be a depth of thousands."""
        return _nth, (self._chain, self.number)


def calls(due: Callable[[int], bool]) -> Call:
    """What stands before the first call of a generation that plans at step 0 and where `due`."""
    return _chained(bytes(number == 0 or bool(due(number)) for number in range(LONGEST)))[0]


@functools.lru_cache(maxsize=64)
def _chained(refreshes: bytes) -> list[Call]:
    """The calls, one after the other, from what stands before the first; a byte of `refreshes` for each."""
    chain = [Call(-1, True, 0, refreshes)]
    for number, refresh in enumerate(refreshes):
        chain.append(Call(number, bool(refresh), chain[-1].planned + refresh, refreshes))
        chain[-2].next = chain[-1]
    chain[-1].next = chain[1]
    return chain


def _nth(refreshes: bytes, number: int) -> Call:
    return _chained(refreshes)[number + 1]


@dataclasses.dataclass(eq=False)
class Ended:
    """A generation that ended at a call, and those before it; None ends the list."""

    last: Call | None
    before: "Ended | None"


class Generation:
    """What is known of the generation under way: its step, whether plans are made anew, the images' seeds.

    A generation ends when the text embeddings are another tensor (a pipeline makes new ones in every call, unless it is
    given embeddings and no guidance), when Flux's position ids are another tensor (its pipelines make new ones always),
    when the latents change shape, when timesteps turn around or are out of another schedule (neither is looked at in a
    compiled model), or when `retom.reset` is called. Nothing is read from a GPU. A pipeline that calls its denoiser
    with two texts in turn (Flux with true guidance, SD 3 with skipped layers) begins a generation with every call, so
    that plans are always made anew.
    """

    def __init__(self, due: Callable[[int], bool]):
        self.start = self.now = calls(due)
        self.ended = Ended(None, None)
        self.seeds: Tensor | None = None  # [images] int64; None stands for 0 in every row
        self.memories: list[dict[str, Any]] = []
        self.counted = (0, 0)
        self.reset()

    @property
    def step(self) -> int:
        """Denoiser call within the generation, from 0."""
        return self.now.number

    @property
    def refresh(self) -> bool:
        """Whether plans are made anew in this call."""
        return self.now.refresh

    def counts(self) -> tuple[int, int]:
        """Calls that made plans and calls that reused them, of all generations so far."""
        computed, reused = self.counted
        while self.ended.last is not None:
            computed, reused = _added(computed, reused, self.ended.last)
            self.ended = self.ended.before
        self.counted = (computed, reused)
        return _added(computed, reused, self.now)

    def reset(self) -> None:
        """Forget the generation; the next call is step 0 of a new one."""
        self.ended, self.now = Ended(self.now, self.ended), self.start
        if not torch.compiler.is_compiling():
            self.counts()  # so that the list stays short
        self.text: Tensor | None = None
        self.ids: Tensor | None = None
        self.size: tuple[int, ...] | None = None
        self.largest = 0.0
        self.furthest: float | None = None  # the timestep that has gone furthest in its direction
        self.falling: bool | None = None
        self.schedule: Tensor | None = None
        self.output: Tensor | None = None
        self._row_seeds: Tensor | None = None
        for memory in self.memories:
            memory.clear()

    def advance(self, sample: Tensor, timestep: Any, text: Tensor | None, ids: Tensor | None = None) -> None:
        """Begin a denoiser call on latents `sample` with these text embeddings and, in Flux, position ids."""
        size = tuple(sample.shape)
        other = text is not self.text or ids is not self.ids or size != self.size
        if other or self._rescheduled(timestep) or self._turned(timestep):
            self.reset()
            self.text, self.ids, self.size = text, ids, size
            self._rescheduled(timestep)
            self._turned(timestep)
        self.now = self.now.next

    def _rescheduled(self, timestep: Any) -> bool:
        """Whether the timestep is out of another schedule than the last one: a view into another tensor.

        Schedulers make their timesteps anew for every generation. The tensor is held, so that no other takes its place.
        """
        if torch.compiler.is_compiling() or not isinstance(timestep, Tensor):
            return False
        shown = math.prod(size for size, stride in zip(timestep.shape, timestep.stride(), strict=True) if stride)
        if timestep.untyped_storage().nbytes() <= shown * timestep.itemsize:
            return False  # a tensor of its own says nothing of a schedule
        last, self.schedule = self.schedule, timestep
        return last is not None and last.untyped_storage().data_ptr() != timestep.untyped_storage().data_ptr()

    def _turned(self, timestep: Any) -> bool:
        """Whether timesteps, so far falling (or rising, in inversion), now go the other way.

        Schedules with steps in between (KDPM2) go back a little by rounding: that is no turn, a hundredth of the
        largest timestep is. Only timesteps already on the host are looked at; reading one from a GPU would wait for it.
        """
        if isinstance(timestep, Tensor):
            if torch.compiler.is_compiling() or timestep.device.type != "cpu" or timestep.numel() == 0:
                return False
            timestep = timestep.flatten()[0].item()
        timestep = float(timestep)
        if self.furthest is None:
            self.furthest = self.largest = timestep
            return False
        gone = timestep - self.furthest
        self.largest = max(self.largest, timestep)
        if self.falling is None and abs(gone) > self.largest / 100:
            self.falling = gone < 0
        if self.falling is not None and (gone < 0) != self.falling:
            return abs(gone) > self.largest / 100
        if self.falling is not None:
            self.furthest = timestep
        return False

    def row_seeds(self, batch: int, device: torch.device) -> Tensor:
        """The seed of every row, [B] int64: guidance stacks whole batches of images, so seeds repeat.

        Made once for a generation, whose batch does not change; a compiled model makes what it uses.
        """
        if self._row_seeds is not None and not torch.compiler.is_compiling():
            return self._row_seeds
        if self.seeds is None:
            return torch.zeros(batch, dtype=torch.int64, device=device)
        repeats, rest = divmod(batch, self.seeds.shape[0])
        if rest:
            raise ValueError(
                f"seeds must fit the batch: the model is called with {batch} rows, which is no multiple of the "
                f"{self.seeds.shape[0]} seeds given to retom.set_seeds"
            )
        seeds = self.seeds.to(device).repeat(repeats)
        if not torch.compiler.is_compiling():
            self._row_seeds = seeds
        return seeds


def _added(computed: int, reused: int, last: Call) -> tuple[int, int]:
    return computed + last.planned, reused + last.number + 1 - last.planned
