"""Infer from timesteps whether a denoiser call starts a generation, moves to its next step or repeats a step.

Nothing is read from a GPU. The position of a timestep is
* its offset in the schedule, if it is a view into one (`for t in scheduler.timesteps`), or
* its value, if that is on the host: a number, or a separate CPU tensor.
A separate tensor on a GPU has no known position. Only its identity is compared.
"""

import enum
import math
from typing import Any

from torch import Tensor


class Tick(enum.Enum):
    """How a denoiser call relates to the previous one."""

    BEGINS = "the first call of a generation"
    NEXT = "the next step"
    SAME = "another call of the same step"
    UNKNOWN = "the timestep has no known position"


class Clock:
    """Follows the timesteps of successive generations.

    A generation ends when timesteps come from another schedule (schedulers create a new one for every generation), or
    when they change direction: they fell so far (or rose, in inversion) and now move the other way.
    """

    def __init__(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Forget the generation."""
        self.timestep: Any = None  # referenced, so that no other tensor reuses its memory
        self.schedule: int | None = None  # address of the schedule's memory
        self.place: float | None = None
        self.started = False
        self.first = 0.0
        self.largest = 0.0
        self.furthest = 0.0  # the furthest place in the direction of travel
        self.falling: bool | None = None

    def tick(self, timestep: Any, *, other_text: bool = False) -> Tick:
        """How the call at `timestep` relates to the previous one. With `other_text`, any step back is a turn."""
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
        """As `_compared`, for tensors whose value would have to be read from a GPU."""
        if timestep is self.timestep:
            return Tick.SAME
        bases = timestep._base, self.timestep._base  # the complete schedule, if it has one step
        return Tick.BEGINS if None not in bases and bases[0] is not bases[1] else Tick.UNKNOWN

    def _turned(self, place: float, tolerance: float) -> bool:
        """Whether the direction has changed.

        Schedules with intermediate steps (KDPM2) move back slightly through rounding, which is not a turn. A move of
        a hundredth of the largest timestep is. Offsets in a schedule are exact.
        """
        moved = place - self.furthest
        self.largest = max(self.largest, place)
        far = abs(moved) > self.largest * tolerance
        if self.falling is None and far:
            self.falling = moved < 0
        if self.falling is not None and (moved < 0) != self.falling:
            return far
        if self.falling is not None:
            self.furthest = place
        return False


def _position(timestep: Any) -> tuple[int | None, float | None]:
    """The address of the schedule that a timestep is a view into, and its offset there or its value on the host."""
    if not isinstance(timestep, Tensor):
        return None, float(timestep)
    shown = math.prod(size for size, stride in zip(timestep.shape, timestep.stride(), strict=True) if stride)
    memory = timestep.untyped_storage()
    if memory.nbytes() > shown * timestep.itemsize:
        return memory.data_ptr(), float(timestep.storage_offset())
    if timestep.device.type != "cpu" or timestep.numel() == 0:
        return None, None
    return None, float(timestep.flatten()[0].item())
