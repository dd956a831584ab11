"""When a batch is too large for the memory: smaller batches, said and recorded, where those give the same images."""

import gc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from eval.errors import RunError

_log = logging.getLogger(__name__)
Item = TypeVar("Item")
# torch's CPU allocator has no exception class of its own (c10/core/impl/alloc_cpu.cpp); its message differs by system.
CPU_WORDS = ("defaultcpuallocator", "can't allocate memory", "cannot allocate memory", "not enough memory")
# The driver and the libraries above it say so in words of their own, in a plain RuntimeError or torch.AcceleratorError.
CUDA_WORDS = ("cuda error: out of memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device's memory, or the machine's, is too small for what was asked."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in (*CPU_WORDS, *CUDA_WORDS))


class BatchLimit:
    """How many images one pipeline call may hold: begins at the batch size, halved whenever memory runs out.

    fixed_by: the dtype whose images depend on the batch, which is then not halved; None where they do not.
    """

    def __init__(self, size: int, fixed_by: str | None = None) -> None:
        self.size, self._fixed_by = size, fixed_by

    def work_through(self, batch: Sequence[Item], work: Callable[[Sequence[Item]], None]) -> None:
        """Call `work` on `batch`, or on consecutive pieces of it once that is too much; what was done is not redone.

        RunError when a single item is too much, or the batch is fixed.
        """
        done = 0
        while done < len(batch):
            piece = batch[done : done + self.size]
            if fits(work, piece):
                done += len(piece)
            else:
                self._halve(len(piece))

    def _halve(self, tried: int) -> None:
        if tried == 1:
            raise RunError(
                "memory runs out with one image per pipeline call; free the device of other work, lower sampler.height "
                "and sampler.width, take sampler.dtype=float16 or sampler.attention=sdpa, or a device with more memory"
            )
        smaller = (tried + 1) // 2
        if self._fixed_by is not None:
            raise RunError(fixed_batch(tried, self._fixed_by, smaller))
        self.size = smaller
        _log.warning("memory runs out with %d images per pipeline call; going on with %d", tried, self.size)


def fixed_batch(tried: int, dtype: str, smaller: int) -> str:
    """The error message where `tried` images of `dtype`, which depend on the batch, do not fit into one call."""
    return (
        f"memory runs out with {tried} images per pipeline call, and {dtype} images depend on how many are generated "
        f"together, so the batch is not made smaller; run every row again with sampler.batch_size={smaller}"
    )


def fits(work: Callable[[Item], None], argument: Item) -> bool:
    """Call `work(argument)`; False, with the memory given back, when that ran out of memory. Other errors go on."""
    try:
        work(argument)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    # Outside of `except`, so that the traceback no longer holds the tensors of the call that failed.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False
