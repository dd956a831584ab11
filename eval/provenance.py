"""Provenance of a number: code, packages, machine, device, settings, date."""

import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CHECKOUT = Path(__file__).parents[1]
PACKAGES = (
    "torch",
    "torchvision",
    "triton",
    "diffusers",
    "transformers",
    "accelerate",
    "tomesd",
    "clean-fid",
    "open_clip_torch",
    "torchmetrics",
    "scikit-learn",
    "datasets",
    "hydra-core",
    "numpy",
    "scipy",
    "pandas",
    "pillow",
    "timm",
)


def collect(
    *,
    root: Path = CHECKOUT,
    device: "str | torch.device" = "cpu",
    dtype: "str | torch.dtype" = "float32",
    packages: Sequence[str] = PACKAGES,
    run: dict | None = None,
) -> dict:
    """Code and machine of a run as plain data.

    `root` is the project's checkout, `device` the torch device of the run. `run` has what only the run can supply
    (attention backend, compile, batch size, scheduler, model revision, hashes of weights) and is stored unchanged.
    Values that cannot be determined are None.
    """
    import torch  # a row reads names of packages before torch is imported

    device = torch.device(device)
    return {
        "date": _now(),
        "git": git_state(Path(root)),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in packages},
        "os": platform.platform(),
        "cpu": cpu(),
        "device": {"type": device.type, "dtype": str(dtype).removeprefix("torch."), "gpu": gpu(device)},
        "torch": torch_settings(),
        "run": run or {},
    }


def code() -> dict:
    """Code version and date of a part of the work that may be done later than the rest."""
    return {"date": _now(), "git": git_state(CHECKOUT)}


def git_state(root: Path) -> dict:
    """{"sha", "dirty", "reason"} of the checkout whose top folder is `root`; sha and dirty are None with a reason.

    dirty: a tracked file differs, or a file that git does not ignore is untracked. results/ does not count, since
    writing tables there changes no code.
    """
    if shutil.which("git") is None:
        return {"sha": None, "dirty": None, "reason": "git is not installed"}
    top, reason = _git(root, "rev-parse", "--show-toplevel")
    if top is None:
        return {"sha": None, "dirty": None, "reason": reason}
    # A project unpacked inside another checkout must not report that checkout's commit.
    if Path(top).resolve() != root.resolve():
        return {"sha": None, "dirty": None, "reason": "the project's folder is not the top of a git checkout"}
    sha, reason = _git(root, "rev-parse", "HEAD")
    if sha is None:
        return {"sha": None, "dirty": None, "reason": reason}
    status, reason = _git(root, "status", "--porcelain", "--", ".", ":(exclude)results")
    return {"sha": sha, "dirty": None if status is None else bool(status), "reason": reason}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _git(root: Path, *arguments: str) -> tuple[str | None, str | None]:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"git {arguments[0]} failed: {error}"
    if done.returncode != 0:
        first = (done.stderr.strip().splitlines() or ["no message"])[0]
        return None, f"git {arguments[0]} failed: {first}"
    return done.stdout.strip(), None


def distribution_of(package: str) -> str | None:
    """The installed distribution that holds a top-level package; None for a folder on Python's path."""
    return next(iter(importlib.metadata.packages_distributions().get(package, [])), None)


def package_version(name: str) -> dict | None:
    """{"version"} of an installed distribution, with {"commit"} if it was installed from a repository; else None.

    The commit is read from pip's direct_url.json: git inside site-packages would report the commit of the checkout
    that contains the environment.
    """
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    found = {"version": distribution.version}
    source = json.loads(distribution.read_text("direct_url.json") or "{}")
    commit = source.get("vcs_info", {}).get("commit_id")
    return found | {"commit": commit} if commit else found


def cpu() -> dict:
    """{"model", "cores" (of the machine), "usable_cores" (of this process), "ram_bytes"}."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def device_name(device: "str | torch.device") -> str:
    """The name of the device: the GPU's, or the processor's model."""
    import torch

    found = gpu(torch.device(device))
    return found["name"] if found else cpu()["model"] or "CPU"


def _cpu_model() -> str:
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def gpu(device: "torch.device") -> dict | None:
    """{"name", "vram_bytes", "capability", "count", "driver"} of a CUDA device; None for any other."""
    import torch

    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "vram_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "count": torch.cuda.device_count(),
        "driver": _driver(),
    }


def _driver() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else None


def torch_settings() -> dict:
    """The settings of torch that affect speed or the last bits: threads, CUDA, cuDNN, TF32, determinism."""
    import torch

    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
