"""What a timestep tells of the generation: whether it goes on, begins, or is called once more in the same step.

Nothing is read from a GPU. A timestep tells its place by
* where it is in its schedule, when it is a view into one (`for t in scheduler.timesteps`), or
* its value, when that is on the host: a number, or a CPU tensor of its own.
A tensor of its own on a GPU tells nothing but whether it is the very same one.
"""

import enum
import math
from typing import Any

from torch import Tensor


class Tick(enum.Enum):
    """How a denoiser call follows the one before."""

    BEGINS = "the first call of a generation"
    NEXT = "the next step"
    SAME = "another call of the same step"
    UNKNOWN = "the timestep does not tell"


class Clock:
    """Follows the timesteps of one generation after the other.

    A generation ends when timesteps are out of another schedule (schedulers make theirs again for every generation),
    or when they turn around: falling so far (or rising, in inversion), they now go the other way.
    """

    def __init__(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Forget the generation."""
        self.timestep: Any = None  # kept, so that no other tensor takes its memory
        self.schedule: int | None = None  # address of the schedule's memory
        self.place: float | None = None
        self.started = False
        self.first = 0.0
        self.largest = 0.0
        self.furthest = 0.0  # the place that has gone furthest in its direction
        self.falling: bool | None = None

    def tick(self, timestep: Any, *, other_text: bool = False) -> Tick:
        """How the call at `timestep` follows the one before; with other text embeddings, any step back is a turn."""
        schedule, place = _position(timestep)
        found = self._compared(timestep, schedule, place, other_text)
        if found is Tick.BEGINS:
            self.stop()
            self.first = self.largest = self.furthest = 0.0 if place is None else place
        self.timestep, self.schedule, self.place, self.started = timestep, schedule, place, True
        return found

    def _compared(self, timestep: Any, schedule: int | None, place: float | None, other_text: bool) -> Tick:
        if not self.started or schedule != self.schedule or (place is None) != (self.place is None):
            return Tick.BEGINS
        if place is None or self.place is None:
            return self._compared_by_identity(timestep)
        if place == self.place:
            return Tick.SAME
        back = other_text and (place - self.place) * (self.place - self.first) < 0
        turned = self._turned(place, 0.0 if schedule is not None else 0.01)
        return Tick.BEGINS if back or turned else Tick.NEXT

    def _compared_by_identity(self, timestep: Tensor) -> Tick:
        """As `_compared`, of tensors whose value would have to be read from a GPU."""
        if timestep is self.timestep:
            return Tick.SAME
        bases = timestep._base, self.timestep._base  # the whole schedule, where it has one step
        return Tick.BEGINS if None not in bases and bases[0] is not bases[1] else Tick.UNKNOWN

    def _turned(self, place: float, tolerance: float) -> bool:
        """Whether places now go the other way.

        Schedules with steps in between (KDPM2) go back a little by rounding: that is no turn, a hundredth of the
        largest timestep is. Places in a schedule are exact.
        """
        gone = place - self.furthest
        self.largest = max(self.largest, place)
        far = abs(gone) > self.largest * tolerance
        if self.falling is None and far:
            self.falling = gone < 0
        if self.falling is not None and (gone < 0) != self.falling:
            return far
        if self.falling is not None:
            self.furthest = place
        return False


def _position(timestep: Any) -> tuple[int | None, float | None]:
    """The address of the schedule that a timestep is a view into, and its place there or its value on the host."""
    if not isinstance(timestep, Tensor):
        return None, float(timestep)
    shown = math.prod(size for size, stride in zip(timestep.shape, timestep.stride(), strict=True) if stride)
    memory = timestep.untyped_storage()
    if memory.nbytes() > shown * timestep.itemsize:
        return memory.data_ptr(), float(timestep.storage_offset())
    if timestep.device.type != "cpu" or timestep.numel() == 0:
        return None, None
    return None, float(timestep.flatten()[0].item())
