"""Detects without a GPU whether code makes the host wait for one: its operators run on fake CUDA tensors.

Fake tensors have shapes and a device and no values. Whatever reads a value, or copies between host and device, is an
operator that says so.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What reads values or makes a shape of them.
READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "_unique2", "equal", "is_nonzero")


class Waited(Exception):
    """An operator for which the host waits."""


class NoWaits(TorchDispatchMode):
    """Raises `Waited` at the first operator that reads a value or crosses between devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in READS:
            raise Waited(str(func))
        out = func(*args, **(kwargs or {}))
        # a number that torch wrapped as a tensor of the host goes along with a launch
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and (x.ndim or x.is_cuda)]
        devices = {x.device.type for x in [*given, *(x for x in tree_leaves(out) if isinstance(x, torch.Tensor))]}
        if len(devices - {"meta"}) > 1:
            raise Waited(f"{func} between {' and '.join(sorted(devices))}")
        return out


@contextlib.contextmanager
def fake_gpu() -> Iterator[str]:
    """The name of a device with fake tensors."""
    with FakeTensorMode():
        yield "cuda"


def calls_without_waiting(denoiser: nn.Module, steps: int, rows: int = 2, side: int = 16) -> None:
    """Denoiser calls of one generation on the fake GPU. Raises `Waited` if one of them makes the host wait."""
    x = torch.randn(rows, 4, side, side, device="cuda", dtype=torch.float16)
    text = torch.randn(rows, 7, 32, device="cuda", dtype=torch.float16)
    times = [torch.full((rows,), 900 - step, device="cuda") for step in range(steps)]
    with torch.no_grad(), NoWaits():
        for time in times:
            x = x - 0.1 * denoiser(x, time, encoder_hidden_states=text, return_dict=False)[0]
