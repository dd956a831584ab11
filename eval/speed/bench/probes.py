"""Measurements of one call besides its duration: peak memory, kernel launches, compiled graphs."""

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
        if "torch._dynamo.utils" not in sys.modules:  # nothing was compiled, and the import is slow
            return cls(0, 0)
        from torch._dynamo.utils import counters

        return cls(counters["stats"]["unique_graphs"], sum(counters["graph_break"].values()))

    def __sub__(self, other: "Graphs") -> "Graphs":
        return Graphs(self.compiled - other.compiled, self.breaks - other.breaks)


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """Peak bytes of torch's allocator during `call` beyond those allocated before.

    On the CPU every allocation is traced (without scratch space inside oneDNN and MKL, which is not torch's). On CUDA
    the allocator's own statistics are read. The result of the call is included.
    """
    with torch.no_grad():
        if device != "cpu":
            return _cuda_peak(call, device)
        cpu = [ProfilerActivity.CPU]
        # Blocks that the call frees but did not allocate are not part of its peak; torch records every thousandth.
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
    """CUDA kernels (or CUDA graphs) that `call` launches; None on the CPU."""
    if device == "cpu":
        return None
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with torch.no_grad(), profile(activities=activities, acc_events=True) as traced:
        call()
        torch.cuda.synchronize(device)
    return sum(event.count for event in traced.key_averages() if event.key in LAUNCHES)
