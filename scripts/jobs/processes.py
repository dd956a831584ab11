"""The processes of one `accelerate launch`, or the single process: how they share images, and joint failure."""

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from eval.errors import RunError
from eval.generation.prompts import PromptItem
from eval.generation.shards import shard
from eval.interrupts import raise_if_pressed

Result = TypeVar("Result")

# The others wait while the main process times and scores; timing ATC alone exceeds torch's 10 minutes.
WAIT = datetime.timedelta(days=2)
# One of them is in the environment of every process that torch, accelerate or MPI start beside others.
LAUNCHED = ("LOCAL_RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


@dataclasses.dataclass(frozen=True)
class _Alone:
    """The state of a process without others, as accelerate's `PartialState` reports it, without importing torch."""

    is_main_process: bool = True
    num_processes: int = 1
    process_index: int = 0


class ProcessLostError(RunError):
    """Another process of the launch is gone (killed, or its machine failed). No row caused it."""


class Team:
    """The processes that share the images of a run. The main process locks, writes records, times and scores."""

    def __init__(self, device: str) -> None:
        """device: the sampler's; "cpu" makes the processes communicate by gloo even if there is a GPU."""
        if any(name in os.environ for name in LAUNCHED):
            from accelerate import PartialState

            self._state = PartialState(cpu=device == "cpu", timeout=WAIT)
        else:
            self._state = _Alone()
        self._lost: ProcessLostError | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self._state.is_main_process

    @property
    def size(self) -> int:
        """Number of processes."""
        return self._state.num_processes

    def share(self, items: Sequence[PromptItem], batch_size: int) -> list[PromptItem]:
        """The part of `items` that this process generates, split by batches, which are those of a single process."""
        return shard(items, self._state.process_index, self.size, batch_size)

    @contextlib.contextmanager
    def phase(self) -> Iterator[None]:
        """A part of the work after which all processes synchronise; if it fails in one, it fails in all.

        RunError in the others contains the message of the first that failed. ProcessLostError if one is gone, also in
        all later phases.
        """
        try:
            yield
        except Exception as error:
            raise_if_pressed()
            with contextlib.suppress(ProcessLostError):
                self.from_all(f"{type(error).__name__}: {error}")
            raise
        failed = [message for message in self.from_all(None) if message]
        if failed:
            raise RunError(f"another process of this run failed ({failed[0]})")

    def from_main(self, work: Callable[[], Result]) -> Result:
        """The result of `work` in the main process, sent to all. Fails in all, as a phase does."""
        with self.phase():
            value = [work() if self.is_main else None]
        if self.size == 1:
            return value[0]
        from accelerate.utils import broadcast_object_list

        return self._meet(broadcast_object_list, value)[0]

    def from_all(self, value: Result) -> list[Result]:
        """The values of all processes, in their order."""
        if self.size == 1:
            return [value]
        from accelerate.utils import gather_object

        return self._meet(gather_object, [value])

    def _meet(self, exchange: Callable[[list], list], values: list) -> list:
        if self._lost is not None:
            raise self._lost
        try:
            return exchange(values)
        except RuntimeError as error:  # raised by gloo and NCCL for a peer that does not respond
            raise_if_pressed()
            why = str(error).partition(". ")[0]
            self._lost = ProcessLostError(
                f"another process of this launch is gone or cannot be reached ({why}); finished images are saved: "
                f"start the same command again"
            )
            raise self._lost from error
