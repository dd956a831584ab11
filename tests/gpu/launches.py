"""How many kernels a call launches: by the profiler on a GPU, by the calls of Triton's interpreter on the CPU."""

from collections.abc import Callable

import pytest
import torch

from tests.gpu.devices import HERE, wait

KERNELS = ("plan_windows", "score_windows", "rank_windows", "merge_rows", "unmerge_rows")


class Counted:
    """A kernel that notes its name at every launch."""

    def __init__(self, kernel, name: str, launched: list[str]) -> None:
        self.kernel, self.name, self.launched = kernel, name, launched

    def __getitem__(self, grid):
        self.launched.append(self.name)
        return self.kernel[grid]


def launches(call: Callable, device: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Kernels that `call` launches on `device`, after a first call that is not counted."""
    call()
    wait(device)
    return len(interpreted(call, monkeypatch)) if device == HERE else _profiled(call, device)


def interpreted(call: Callable, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that `call` launches in Triton's interpreter, by name and in order."""
    names: list[str] = []
    with monkeypatch.context() as patch:
        replace_kernels(patch, lambda kernel, name: Counted(kernel, name, names))
        call()
    return names


def replace_kernels(patch: pytest.MonkeyPatch, stand_in: Callable[[object, str], object]) -> None:
    """Put `stand_in(kernel, name)` where each kernel is launched from."""
    from retom.backends.triton import launch

    for module in (launch.planning, launch.large, launch.rows):
        for name in KERNELS:
            if name in vars(module):
                patch.setattr(module, name, stand_in(getattr(module, name), name))


def _profiled(call: Callable, device: str) -> int:
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        call()
        wait(device)
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())
