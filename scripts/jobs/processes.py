"""The processes of one `accelerate launch`, or the one process there is: who draws what, and failing together."""

import contextlib
import datetime
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from eval.errors import RunError
from eval.generate import shard
from eval.interrupts import raise_if_pressed
from eval.prompts import PromptItem

Result = TypeVar("Result")

# The others wait while the main process times and scores; ATC's timing alone takes longer than torch's 10 minutes.
WAIT = datetime.timedelta(days=2)


class ProcessLostError(RunError):
    """Another process of the launch is gone, killed from outside or with its machine: no row is to blame."""


class Team:
    """The processes that share the images of a run. The main one locks, writes records, times and scores."""

    def __init__(self, device: str) -> None:
        """device: the sampler's; "cpu" makes the processes talk by gloo even where a GPU is."""
        self._state = PartialState(cpu=device == "cpu", timeout=WAIT)
        self._lost: ProcessLostError | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self._state.is_main_process

    @property
    def size(self) -> int:
        """Number of processes."""
        return self._state.num_processes

    def share(self, items: Sequence[PromptItem], batch_size: int) -> list[PromptItem]:
        """The part of `items` that this process makes, cut by batches so that the batches are those of one process."""
        return shard(items, self._state.process_index, self.size, batch_size)

    @contextlib.contextmanager
    def phase(self) -> Iterator[None]:
        """A part of the work after which all processes meet; when it fails in one it fails in all.

        RunError in the others names the sentence of the first that failed; ProcessLostError where one is gone, as from
        then on in every phase: nobody waits for it.
        """
        try:
            yield
        except Exception as error:
            raise_if_pressed()
            with contextlib.suppress(ProcessLostError):
                self.from_all(f"{type(error).__name__}: {error}")
            raise
        failed = [sentence for sentence in self.from_all(None) if sentence]
        if failed:
            raise RunError(f"another process of this run failed ({failed[0]})")

    def from_main(self, work: Callable[[], Result]) -> Result:
        """What `work` returns in the main process, told to all. Fails in all, as a phase does."""
        with self.phase():
            value = [work() if self.is_main else None]
        return value[0] if self.size == 1 else self._meet(broadcast_object_list, value)[0]

    def from_all(self, value: Result) -> list[Result]:
        """What each process gives, in their order, told to all."""
        return [value] if self.size == 1 else self._meet(gather_object, [value])

    def _meet(self, exchange: Callable[[list], list], values: list) -> list:
        if self._lost is not None:
            raise self._lost
        try:
            return exchange(values)
        except RuntimeError as error:  # gloo's and NCCL's word for a peer that does not answer any more
            raise_if_pressed()
            why = str(error).partition(". ")[0]
            self._lost = ProcessLostError(
                f"another process of this launch is gone or cannot be reached ({why}); what is made so far is kept: "
                f"start the same command again"
            )
            raise self._lost from error
