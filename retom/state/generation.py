"""The state of the current generation: its step, its call sequences and the seeds of its images.

**Steps.** A step is a place in the schedule. The next timestep is the next step, even if embeddings, guidance or
latents are replaced in between (`retom.state.clock`).

**Call sequences.** A denoiser may be called several times in one step: tile by tile, with one prompt after another, or
again for self-attention guidance. The n-th calls of all steps form a sequence, and every sequence has its own plans. A
call belongs to the sequence that has its text embeddings, or else to the next one in order. If the embeddings of a
sequence change, its plans are made again.

**Threads.** State belongs to the thread that calls the model.
"""

import threading
from typing import Any

import torch
from torch import Tensor

from retom.state.clock import Clock, Tick
from retom.state.rows import Rows
from retom.state.steps import Call, Tally

MOST_SEQUENCES = 16  # the last one takes all further calls, and always plans


class Sequence:
    """The n-th calls of all steps.

    text: the embeddings of the last call. planned: how often plans had been due by then; None before the first call.
    called: whether it was called in this step. output: what the denoiser returned at the last call.
    """

    def __init__(self, number: int):
        self.number = number
        self.text: Tensor | None = None
        self.planned: int | None = None
        self.called = False
        self.output: Tensor | None = None


class Generation:
    """The current generation of one thread.

    A generation ends when the timesteps show it (`retom.state.clock`), when the model's marker is another tensor (an
    argument that pipelines create in every call, see `retom.families`), or when `retom.reset` is called. If the
    timesteps have no known position (separate tensors on a GPU), other text embeddings or latents of another shape
    end it. Nothing is read from a GPU.

    A model compiled as one graph cannot read positions and values of timesteps. Its guards cover the identity and the
    shape of tensors. There a generation also ends with other text embeddings or latents of another shape, so the step
    count restarts if prompts change or guidance stops in mid-generation. Calls with the same timestep tensor are calls
    of one step, and each of them makes plans. In all of these cases plans are made again and never reused wrongly.
    """

    def __init__(self, start: Call, tally: Tally, home: "Generation | None" = None):
        self.start = self.now = start
        self.tally = tally
        self.home = home
        self.given: Tensor | None = None  # the seeds set in this thread
        self.clock = Clock()
        self.begun = False
        self.reset()

    @property
    def step(self) -> int:
        """The step within the generation, from 0."""
        return self.now.number

    @property
    def seeds(self) -> Tensor | None:
        """One seed per image, [images] int64: those of this thread, or else of the thread that patched the model."""
        return self.home.given if self.given is None and self.home is not None else self.given

    def give(self, seeds: Tensor) -> None:
        """Set the seeds of the following generations."""
        self.given = seeds
        self.reset()

    def reset(self) -> None:
        """Forget the generation; the next call is step 0 of a new one."""
        self.tally.rest()
        self.now = self.start
        self.refresh = True  # whether plans are due in this call
        self.clock.stop()
        self.sequences = [Sequence(0)]
        self.sequence = self.sequences[0]
        self.marker: Tensor | None = None
        self.sample: Tensor | None = None
        self.size: tuple[int, ...] | None = None
        self.rows = Rows(0)  # of the current call
        self.top: tuple[int, int] | None = None  # the grid of the top level, if the model has levels
        self.timestep: Any = None  # of a compiled model
        self.mixed = False  # of a compiled model: whether a step had several calls
        self._row_seeds: tuple[Rows, Tensor] | None = None

    def advance(self, sample: Tensor, timestep: Any, text: Tensor | None, marker: Tensor | None = None) -> bool:
        """Start a denoiser call on latents `sample` with these text embeddings and, if the family has one, marker.

        Returns whether the call starts a generation.
        """
        if torch.compiler.is_compiling():
            return self._advance_compiled(sample, timestep, text, marker)
        tick = self._tick(sample, timestep, text, marker)
        if tick is Tick.BEGINS:
            self.reset()
            self.clock.tick(timestep)
        if tick is not Tick.SAME:
            self.now = self.now.next
            for sequence in self.sequences:
                sequence.called = False
        self._enter(self._sequence(text), text)
        self.begun, self.marker, self.sample, self.size = True, marker, sample, tuple(sample.shape)
        return tick is Tick.BEGINS

    def _tick(self, sample: Tensor, timestep: Any, text: Tensor | None, marker: Tensor | None) -> Tick:
        same_text, same_sample = text is self.sequence.text, sample is self.sample
        known_text = any(text is sequence.text for sequence in self.sequences)
        tick = self.clock.tick(timestep, other_text=not known_text)
        if marker is not self.marker or tick is Tick.BEGINS:
            return Tick.BEGINS
        if tick is Tick.UNKNOWN and same_sample and not same_text:
            return Tick.SAME
        if tick is Tick.UNKNOWN and marker is None and not (same_text and tuple(sample.shape) == self.size):
            return Tick.BEGINS
        # An identical call is neither another tile nor another prompt.
        return Tick.NEXT if tick is Tick.UNKNOWN or (same_text and same_sample) else tick

    def _sequence(self, text: Tensor | None) -> Sequence:
        """The sequence that a call with `text` belongs to; the last one takes all calls beyond MOST_SEQUENCES."""
        free = [sequence for sequence in self.sequences if not sequence.called]
        known = [sequence for sequence in free if sequence.text is text]
        if not free and len(self.sequences) < MOST_SEQUENCES:
            self.sequences.append(Sequence(len(self.sequences)))
            return self.sequences[-1]
        return (known or free or self.sequences)[0 if free else -1]

    def _enter(self, sequence: Sequence, text: Tensor | None) -> None:
        always = sequence.number == MOST_SEQUENCES - 1 or self.now.number == 0
        self.refresh = always or sequence.planned != self.now.planned or sequence.text is not text
        sequence.text, sequence.planned, sequence.called = text, self.now.planned, True
        self.sequence = sequence

    def _advance_compiled(self, sample: Tensor, timestep: Any, text: Tensor | None, marker: Tensor | None) -> bool:
        """As `advance`, using only what guards of a graph cover: identity and shape of tensors."""
        now, other_text, size = self.now, text is not self.sequence.text, tuple(sample.shape)
        begins = marker is not self.marker or (marker is None and (other_text or size != self.size))
        again = not begins and isinstance(timestep, Tensor) and timestep is self.timestep
        if begins:
            now = self.start
            self.tally.begin()
            self.sequence = self.sequences[0]
            self.sequence.output = None
        self.mixed = again or (self.mixed and not begins)
        self.now = now if again else now.next
        self.tally.count()
        self.refresh = self.now.refresh or other_text or self.mixed
        self.sequence.text, self.marker, self.size = text, marker, size
        self.timestep = timestep
        return begins

    def row_seeds(self, rows: Rows, device: torch.device) -> Tensor:
        """The seed of every row, [B] int64. Cached per `rows`, except in a compiled model."""
        if torch.compiler.is_compiling():
            return rows.seeds(self.seeds, device)
        if self._row_seeds is None or self._row_seeds[0] != rows:
            self._row_seeds = rows, rows.seeds(self.seeds, device)
        return self._row_seeds[1]


class Session:
    """The state of one patched model: a generation for each thread, and the counts of all threads.

    A thread that set no seeds uses those of the thread that patched the model. A thread that never called the model
    (autograd's, where activations are recomputed) uses the state of the last call.
    """

    def __init__(self, start: Call):
        self.start = start
        self.lock = threading.Lock()
        self.tallies: list[Tally] = []
        self.home: Generation | None = None  # of the thread that patched the model
        self._local = _Threads(self)
        self.home = self.latest = self._local.generation

    @property
    def own(self) -> Generation:
        """The generation of the calling thread."""
        return self._local.generation

    @property
    def current(self) -> Generation:
        """The generation of the current module call."""
        own = self._local.generation
        return own if own.begun or self.latest is None else self.latest

    def counts(self) -> tuple[int, int]:
        """How many calls of the compiled model made plans, and how many reused them."""
        pairs = [tally.counts() for tally in self.tallies]
        return sum(computed for computed, _ in pairs), sum(reused for _, reused in pairs)

    def __getstate__(self) -> dict[str, Any]:
        """A copy starts its own generation, with the same seeds."""
        return {"start": self.start, "counts": self.counts(), "seeds": None if self.home is None else self.home.given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Session.__init__(self, state["start"])
        self.tallies[0].counted = state["counts"]
        self.own.given = state["seeds"]


class _Threads(threading.local):
    """The generation of each thread. Python calls `__init__` in every thread that accesses it."""

    def __init__(self, session: Session):
        tally = Tally(session.start)
        with session.lock:
            session.tallies.append(tally)
        self.generation = Generation(session.start, tally, session.home)
