"""Out-of-memory handling: smaller batches, logged and recorded, if these give the same images."""

import gc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from eval.errors import RunError

_log = logging.getLogger(__name__)
Item = TypeVar("Item")
# torch's CPU allocator has no exception class (c10/core/impl/alloc_cpu.cpp); its message depends on the system.
CPU_WORDS = ("defaultcpuallocator", "can't allocate memory", "cannot allocate memory", "not enough memory")
# The driver and its libraries raise a plain RuntimeError or torch.AcceleratorError with their own messages.
CUDA_WORDS = ("cuda error: out of memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` reports that the memory of the device or of the host is too small."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in (*CPU_WORDS, *CUDA_WORDS))


class BatchLimit:
    """Maximum images per pipeline call: starts at the batch size, halved whenever memory runs out.

    fixed_by: the dtype whose images depend on the batch, which is then not halved; None if they do not.
    """

    def __init__(self, size: int, fixed_by: str | None = None) -> None:
        self.size, self._fixed_by = size, fixed_by

    def work_through(self, batch: Sequence[Item], work: Callable[[Sequence[Item]], None]) -> None:
        """Call `work` on `batch`, or on consecutive pieces of it if it does not fit. Completed pieces are not repeated.

        RunError if a single item does not fit, or if the batch is fixed.
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
                "memory runs out with one image per pipeline call; free the device, lower sampler.height and "
                "sampler.width, set sampler.dtype=float16 or sampler.attention=sdpa, or use a device with more memory"
            )
        smaller = (tried + 1) // 2
        if self._fixed_by is not None:
            raise RunError(fixed_batch(tried, self._fixed_by, smaller))
        self.size = smaller
        _log.warning("memory runs out with %d images per pipeline call; continuing with %d", tried, self.size)


def fixed_batch(tried: int, dtype: str, smaller: int) -> str:
    """The error message if `tried` images of `dtype`, which depend on the batch, do not fit into one call."""
    return (
        f"memory runs out with {tried} images per pipeline call, and {dtype} images depend on the batch size, so it is "
        f"not reduced automatically; run every row again with sampler.batch_size={smaller}"
    )


def fits(work: Callable[[Item], None], argument: Item) -> bool:
    """Call `work(argument)`; False, after freeing memory, if it ran out of memory. Other errors propagate."""
    try:
        work(argument)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    # Outside of `except`, so that the traceback no longer references the tensors of the failed call.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False
