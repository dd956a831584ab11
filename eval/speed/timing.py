"""The choice of a timing pass."""

import dataclasses
import math
import numbers

from eval.checks import check_integer


@dataclasses.dataclass(frozen=True)
class TimingConfig:
    """Settings of the timing pass.

    enabled: whether it runs. warmup: discarded calls before each batch size. images: images timed at each batch size
    (rounded up to complete calls). batch_sizes: besides batch 1, which is always measured. wait: maximum seconds to
    wait for an idle device; the row is then timed anyway, and marked if there was other work.
    again: time finished rows again that are marked (it changes nothing else).
    """

    enabled: bool = True
    warmup: int = 2
    images: int = 20
    batch_sizes: tuple[int, ...] = ()
    wait: float = 0
    again: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.batch_sizes, list | tuple):
            raise ValueError(f"timing.batch_sizes must be a list of integers, such as [4, 8], got {self.batch_sizes!r}")
        object.__setattr__(self, "batch_sizes", tuple(self.batch_sizes))
        for name in ("enabled", "again"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"timing.{name} must be true or false, got {getattr(self, name)!r}")
        if isinstance(self.wait, bool) or not isinstance(self.wait, numbers.Real) or not 0 <= self.wait < math.inf:
            raise ValueError(f"timing.wait must be a number of seconds of at least 0, got {self.wait!r}")
        check_integer("timing.warmup", self.warmup, 0)
        check_integer("timing.images", self.images, 1)
        for size in self.batch_sizes:
            check_integer("timing.batch_sizes", size, 1)

    @property
    def shapes(self) -> tuple[int, ...]:
        """The measured batch sizes, 1 first, without duplicates."""
        return tuple(sorted({1, *self.batch_sizes}))

    @property
    def calls(self) -> int:
        """Pipeline calls of one measurement, including warm-up."""
        return sum(self.warmup + math.ceil(self.images / size) for size in self.shapes)
