"""The machine: a fast check for a CUDA device without importing torch, and torch's own description."""

import ctypes
import re
from typing import Any

from eval.errors import RunError
from eval.speed.bench.stage_file import fingerprint
from scripts.command_line.entry import ROOT
from scripts.gpu_stages.order import Order

DRIVERS = ("libcuda.so.1", "nvcuda.dll")
# Files that affect timings: rows are reused only while none of them changes.
TIMED = ("retom", "baselines", "eval/speed/bench/cells.py", "eval/speed/bench/denoisers.py",
         "eval/speed/bench/interleave.py", "eval/speed/bench/figures.py", "eval/speed/bench/probes.py",
         "eval/generation/models", "eval/generation/sampler.py", "eval/generation/compiling.py", "scripts/bench_cases",
         "scripts/gpu_stages/seconds.py", "conf/method", "conf/bench.yaml")  # fmt: skip


def check_driver(device: str) -> None:
    """RunError if `device` is a CUDA device and the system has no driver for one."""
    if device != "cpu" and not any(map(_devices, DRIVERS)):
        raise RunError(
            f"device={device} was requested but this machine has no CUDA device; device=cpu minutes=2 runs the same "
            "stages at toy sizes"
        )


def _devices(driver: str) -> int:
    """Number of devices that a CUDA driver library finds; 0 if there is no such library."""
    try:
        library = ctypes.CDLL(driver)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    found = library.cuInit(0) == 0 and library.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if found else 0


def look(order: Order) -> dict[str, Any]:
    """The card's name in file names, the environment in which rows are valid, the provenance. RunError: no device."""
    from eval.devices import check_device
    from eval.provenance import collect  # imported late: the command itself does not import torch

    check_device(order.device)
    provenance = collect(root=ROOT, device=order.device)
    gpu, packages = provenance["device"]["gpu"], provenance["packages"]
    versions = {name: (packages[name] or {}).get("version") for name in ("torch", "triton", "diffusers")}
    same = {"device": gpu["name"] if gpu else provenance["cpu"]["model"], **versions, "code": fingerprint(ROOT, TIMED)}
    return {"card": slug(gpu["name"]) if gpu else "cpu", "same": same, "provenance": provenance}


def slug(name: str) -> str:
    """A card's name for file names: lower case, with hyphens for all but letters and digits."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
