"""What a process does to itself before it runs a command, where a fault cannot be timed well enough from outside."""

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from omegaconf.base import Container

import eval.atomic
from eval.downloads.weights import WeightFile

FILL_STEP = 4096


def die_at(name: str, moment: str) -> None:
    """kill -9 in the write of the first file whose name ends in `name`: "begun" (its temporary file is there),
    "written" (whole, not yet renamed) or "renamed".
    """

    def die(path: Path, now: str) -> None:
        if path.name.endswith(name) and now == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    _on_write(die)


def fill_at(name: str, ballast: str) -> None:
    """The disk is full from the write of the first file on whose name ends in `name`; `ballast` takes the space."""

    def fill(path: Path, now: str) -> None:
        if path.name.endswith(name) and now == "begun" and not Path(ballast).exists():
            fill_disk(Path(ballast))

    _on_write(fill)


def fill_disk(ballast: Path) -> None:
    """Write `ballast` until nothing more fits."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * FILL_STEP)
        except OSError:
            return


def slow_images(seconds: float, ballast: str | None = None) -> None:
    """Every image file stays half-written for `seconds`; if `ballast` is given, it then fills the disk."""
    write = Path.write_bytes

    def halting(self: Path, data: bytes) -> int:
        if ".png." not in self.name:
            return write(self, data)
        with self.open("wb") as file:  # buffered, as Path.write_bytes: a write that is cut short is an error
            file.write(data[: len(data) // 2])
            file.flush()
            time.sleep(seconds)
            if ballast is not None and not Path(ballast).exists():
                fill_disk(Path(ballast))
            return file.write(data[len(data) // 2 :])

    Path.write_bytes = halting


def nan_latents(call: int) -> None:
    """The denoiser's answer is NaN in its call number `call`, counted from 0 over the whole process."""

    def spoilt(output: tuple, number: int) -> tuple:
        return tuple(torch.full_like(part, torch.nan) for part in output) if number == call else output

    _on_denoiser(spoilt)


def denoiser_raises(call: int) -> None:
    """The denoiser raises in its call number `call`."""

    def raising(output: tuple, number: int) -> tuple:
        if number == call:
            raise RuntimeError(f"injected at call {call}")
        return output

    _on_denoiser(raising)


def ctrl_c_amid_modes() -> None:
    """Ctrl-C after torch has taken a mode off its stack and before it could know to put it back."""

    @contextlib.contextmanager
    def popping() -> Iterator[object]:
        mode = torch.overrides._pop_mode()
        press_ctrl_c()
        yield mode

    torch.overrides._pop_mode_temporarily = popping


def ctrl_c_amid_flags(call: int) -> None:
    """Ctrl-C while OmegaConf clears its flags, the time number `call`, which it cannot do half."""
    clear, calls = Container._invalidate_flags_cache, 0

    def clearing(self: Container) -> None:
        nonlocal calls
        calls += 1
        if calls - 1 != call:
            return clear(self)
        try:
            press_ctrl_c()
        finally:
            raise AttributeError("a flag that was half cleared")

    Container._invalidate_flags_cache = clearing


def ctrl_c_is_dropped(call: int) -> None:
    """Ctrl-C in a finaliser at the denoiser's call number `call`: Python prints it and goes on."""

    class Dropping:
        def __del__(self) -> None:
            press_ctrl_c()

    def dropping(output: tuple, number: int) -> tuple:
        if number == call:
            Dropping()
        return output

    _on_denoiser(dropping)


def press_ctrl_c() -> None:
    """What a terminal does to the process at Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def clock_goes_back(seconds_per_call: float) -> None:
    """Every reading of the wall clock is earlier than the one before."""
    start, calls = time.time(), 0

    def earlier() -> float:
        nonlocal calls
        calls += 1
        return start - seconds_per_call * calls

    time.time = earlier
    time.time_ns = lambda: int(earlier() * 1e9)


def fetch_instead(name: str, url: str, sha256: str) -> None:
    """Fetch one weight file, as the preflight of the real metrics does, and nothing else."""
    import scripts.run

    def fetch() -> int:
        import logging

        logging.basicConfig(level=logging.INFO, force=True)
        WeightFile(name, url, sha256).locate()
        return 0

    scripts.run.main = fetch


def _on_write(act) -> None:
    reserve, replace = eval.atomic._reserve, Path.replace

    def reserving(path: Path):
        kept = reserve(path)
        act(Path(path), "begun")
        return kept

    def replacing(self: Path, target):
        act(Path(target), "written")
        done = replace(self, target)
        act(Path(target), "renamed")
        return done

    eval.atomic._reserve, Path.replace = reserving, replacing


def _on_denoiser(act) -> None:
    forward, calls = UNet2DConditionModel.forward, 0

    @functools.wraps(forward)  # hooks read the signature
    def acting(self, *arguments, **options):
        nonlocal calls
        calls += 1
        return act(forward(self, *arguments, **options), calls - 1)

    UNet2DConditionModel.forward = acting
