"""Whether a device has other work than ours while something is timed on it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

# Share of the machine's processor time that others may take before a row timed on the CPU is marked. An idle system's
# own services take 1 to 2%.
CPU_SHARE = 0.05
WINDOW = 1.0  # seconds over which one look is taken while waiting
PROC_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Disturbance:
    """What else a device did over a stretch of time.

    others_cpu_share: share, 0 to 1, of all the machine's processor time that went to other processes, or was withheld
    by the hypervisor; None where it cannot be told. gpu_processes: other processes on the GPU, None on the CPU and
    where it cannot be told (no NVML).
    """

    device: str
    others_cpu_share: float | None
    gpu_processes: int | None

    @property
    def quiet(self) -> bool | None:
        """Whether times taken then are to be trusted: no other process on the GPU; on the CPU at most `CPU_SHARE`."""
        if self.device != "cpu":
            return None if self.gpu_processes is None else self.gpu_processes == 0
        return None if self.others_cpu_share is None else self.others_cpu_share <= CPU_SHARE

    @property
    def sentence(self) -> str:
        """Why it was not quiet, for people."""
        if self.quiet is None:
            return "it cannot be told what else ran on the device" + ("" if self.device == "cpu" else " (no NVML)")
        if self.device != "cpu":
            return f"{self.gpu_processes} other processes were on the GPU"
        return f"other processes took {self.others_cpu_share:.0%} of the machine's processor time"


class Watch:
    """Looks at the device from now on; `so_far` tells what else it did since."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._gpu = other_gpu_processes(device)
        self._began = _read()

    def so_far(self) -> Disturbance:
        """The disturbance since this watch was made: the GPU's at its worse end, the CPU's over the whole stretch."""
        gpu = [self._gpu, other_gpu_processes(self._device)]
        share = _share(self._began, _read())
        return Disturbance(self._device, share, None if None in gpu else max(gpu))


def wait_until_quiet(device: str, seconds: float, look: Callable[[], Disturbance] | None = None) -> Disturbance:
    """Wait until the device has no other work, `seconds` at most; what the last look of one second saw."""
    look = look or (lambda: look_once(device))
    deadline = time.monotonic() + seconds
    seen = look()
    while seen.quiet is False and time.monotonic() < deadline:
        seen = look()
    return seen


def look_once(device: str) -> Disturbance:
    """What else the device does within one second in which this process rests."""
    watch = Watch(device)
    time.sleep(WINDOW)
    return watch.so_far()


def other_gpu_processes(device: str) -> int | None:
    """How many other processes compute on the CUDA device, None where it cannot be told (no NVML) or on the CPU.

    In a container NVML names processes by the host's ids; the one that it cannot match is then taken for this process.
    """
    if device == "cpu":
        return None
    try:
        import pynvml  # the package nvidia-ml-py
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        torch.cuda.init()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        running = {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
    return others_of(running, os.getpid())


def others_of(running: set[int], own: int) -> int:
    """How many of the process ids `running` on a GPU are not `own`, which is there, if perhaps under another id."""
    return len(running - {own}) if own in running else max(len(running) - 1, 0)


@dataclass(frozen=True)
class _Reading:
    at: float
    busy: float
    own: float
    cores: int


def _read() -> _Reading | None:
    """Processor seconds since the start, of the machine and of this process; None where the system does not tell."""
    try:
        text = PROC_STAT.read_text(encoding="ascii")
    except OSError:
        return None
    lines = [line.split() for line in text.splitlines() if line.startswith("cpu")]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in lines[0][1:9])
    ticks = user + nice + system + irq + softirq + steal
    own = sum(os.times()[:4])
    return _Reading(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), own, len(lines) - 1)


def _share(first: _Reading | None, last: _Reading | None) -> float | None:
    if first is None or last is None or last.at <= first.at:
        return None
    others = (last.busy - first.busy) - (last.own - first.own)
    return min(max(others / ((last.at - first.at) * last.cores), 0.0), 1.0)
