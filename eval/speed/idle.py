"""Whether a device is idle apart from this process while something is timed on it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Share of the machine's processor time used by other processes from which a row timed on the CPU is marked. The
# services of an idle system use 1 to 2%.
CPU_SHARE = 0.05
WINDOW = 1.0  # seconds of one measurement while waiting
PROC_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Disturbance:
    """Other work of a device over a period of time.

    others_cpu_share: share, 0 to 1, of the machine's processor time that went to other processes or was withheld by the
    hypervisor; None if unknown. gpu_processes: other processes on the GPU; None on the CPU and if unknown (no NVML).
    """

    device: str
    others_cpu_share: float | None
    gpu_processes: int | None

    @property
    def idle(self) -> bool | None:
        """Whether timings of that period are valid: no other process on the GPU; on the CPU at most `CPU_SHARE`."""
        if self.device != "cpu":
            return None if self.gpu_processes is None else self.gpu_processes == 0
        return None if self.others_cpu_share is None else self.others_cpu_share <= CPU_SHARE

    @property
    def reason(self) -> str:
        """Why the device was not idle, for people."""
        if self.idle is None:
            return "it is unknown what else ran on the device" + ("" if self.device == "cpu" else " (no NVML)")
        if self.device != "cpu":
            return f"{self.gpu_processes} other processes were on the GPU"
        return f"other processes used {self.others_cpu_share:.0%} of the machine's processor time"


class Watch:
    """Observes the device from its creation on; `so_far` reports the other work since then."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._gpu = other_gpu_processes(device)
        self._began = _read()

    def so_far(self) -> Disturbance:
        """The disturbance since creation: the GPU's maximum of both ends, the CPU's mean over the period."""
        gpu = [self._gpu, other_gpu_processes(self._device)]
        share = _share(self._began, _read())
        return Disturbance(self._device, share, None if None in gpu else max(gpu))


def wait_until_idle(device: str, seconds: float, look: Callable[[], Disturbance] | None = None) -> Disturbance:
    """Wait until the device is idle, at most `seconds`; returns the last measurement of one second."""
    look = look or (lambda: look_once(device))
    deadline = time.monotonic() + seconds
    seen = look()
    while seen.idle is False and time.monotonic() < deadline:
        seen = look()
    return seen


def look_once(device: str) -> Disturbance:
    """The other work of the device within one second in which this process is idle."""
    watch = Watch(device)
    time.sleep(WINDOW)
    return watch.so_far()


def other_gpu_processes(device: str) -> int | None:
    """Number of other processes on the CUDA device; None if unknown (no NVML) or on the CPU.

    In a container NVML reports process ids of the host; the one that does not match is then assumed to be this process.
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
    import torch  # not needed to read what a record says about other work

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
    """How many of the process ids `running` on a GPU are not `own`, which is among them, possibly under another id."""
    return len(running - {own}) if own in running else max(len(running) - 1, 0)


@dataclass(frozen=True)
class _Reading:
    at: float
    busy: float
    own: float
    cores: int


def _read() -> _Reading | None:
    """Processor seconds since boot, of the machine and of this process; None if the system does not report them."""
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
