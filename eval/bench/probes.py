"""What one call does besides taking time: memory at its peak, kernels launched, graphs compiled."""

import dataclasses
import sys
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from eval.silence import without_lines

LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch")


@dataclasses.dataclass(frozen=True)
class Graphs:
    """Counts of torch.compile: graphs `compiled` and `breaks` between them."""

    compiled: int
    breaks: int

    @classmethod
    def now(cls) -> "Graphs":
        """The counts of this process so far."""
        if "torch._dynamo.utils" not in sys.modules:  # nothing was compiled, and the import takes seconds
            return cls(0, 0)
        from torch._dynamo.utils import counters

        return cls(counters["stats"]["unique_graphs"], sum(counters["graph_break"].values()))

    def __sub__(self, other: "Graphs") -> "Graphs":
        return Graphs(self.compiled - other.compiled, self.breaks - other.breaks)


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """Bytes that torch's allocator holds at the peak of `call` beyond what it held before.

    On the CPU every allocation is traced (scratch space inside oneDNN and MKL is not torch's and not in it), on CUDA
    the allocator's own statistics are read. The result of the call is part of it.
    """
    with torch.no_grad():
        if device != "cpu":
            return _cuda_peak(call, device)
        cpu = [ProfilerActivity.CPU]
        # What the call frees and did not allocate is no part of its peak; torch notes every thousandth such block.
        with without_lines("CPUAllocator.cpp"), profile(activities=cpu, profile_memory=True, acc_events=True) as traced:
            call()
    events = traced.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def _cuda_peak(call: Callable[[], object], device: str) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def kernel_launches(call: Callable[[], object], device: str) -> int | None:
    """CUDA kernels (or whole CUDA graphs) that `call` launches; None on the CPU."""
    if device == "cpu":
        return None
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with torch.no_grad(), profile(activities=activities, acc_events=True) as traced:
        call()
        torch.cuda.synchronize(device)
    return sum(event.count for event in traced.key_averages() if event.key in LAUNCHES)
