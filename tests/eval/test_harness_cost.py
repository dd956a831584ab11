"""What the harness costs next to the device: `generate` over a pipeline that hands back ready images after a while."""

import itertools
import os
import statistics
import tempfile
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eval.generation.image_writer
from eval.generation.generate import generate
from eval.generation.prompts import PromptSet
from eval.generation.sampler import SamplerConfig

SECONDS, BATCH, SIDE, ROUNDS = 0.1, 4, 512, 3
ITEMS = PromptSet(classes=32, images_per_class=2).items()
LINE = 1.03  # on two idle cores; measured figures are in docs/performance.md
# The cores of a CI machine are shared. Images written between the pipeline's calls take 1.17 to 1.8 there, and more.
BOUND = 1.12


class ReadyImages:
    """Stands for a device: every image is there after `SECONDS`, as a diffusers pipeline returns it."""

    def __init__(self, image: np.ndarray) -> None:
        self._image = image  # [H, W, 3]

    def __call__(self, prompt, *, callback_on_step_end, **_):
        time.sleep(SECONDS * len(prompt))
        callback_on_step_end(self, 0, 0, {"latents": torch.zeros(len(prompt), 4, SIDE // 8, SIDE // 8)})
        return types.SimpleNamespace(images=np.stack([self._image] * len(prompt)))


def photograph() -> np.ndarray:
    """[H, W, 3]: smooth shapes with grain, which compresses as a photograph does."""
    noise = np.random.default_rng(0)
    coarse = Image.fromarray(noise.integers(0, 256, (SIDE // 16, SIDE // 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) / 255
    return (smooth + noise.normal(0, 0.02, smooth.shape)).clip(0, 1).astype(np.float32)


def white_noise() -> np.ndarray:
    """[H, W, 3]: what takes longest to encode."""
    return np.random.default_rng(0).random((SIDE, SIDE, 3), dtype=np.float32)


def bare(pipe: ReadyImages) -> float:
    began = time.perf_counter()
    for _ in range(len(ITEMS) // BATCH):
        pipe([""] * BATCH, callback_on_step_end=lambda *_: None)
    return time.perf_counter() - began


def ratios(image: np.ndarray, folder: Path) -> Iterator[float]:
    """Seconds of `generate` to those of its pipeline calls alone, once a round."""
    pipe, sampler = ReadyImages(image), SamplerConfig(batch_size=BATCH, height=SIDE, width=SIDE)
    for number in range(ROUNDS):
        alone = bare(pipe)
        began = time.perf_counter()
        report = generate(pipe, ITEMS, folder / str(number), sampler)
        ratio = (time.perf_counter() - began) / alone
        assert len(report.made) == len(ITEMS)
        yield ratio


@pytest.mark.slow
@pytest.mark.parametrize("image", [photograph, white_noise])
def test_the_device_does_not_wait_for_files(image, tmp_path) -> None:
    found = []
    for ratio in ratios(image(), tmp_path):
        found.append(ratio)
        if ratio <= BOUND:  # one round that nobody disturbs is enough
            break
    said = f"{image.__name__}: {found}, line {LINE}, load average {os.getloadavg()[0]:.1f}"
    print(said)
    assert min(found) <= BOUND, said


def test_the_next_batch_does_not_wait_for_the_files_of_the_last(tmp_path, monkeypatch) -> None:
    """In events instead of seconds: a pipeline call begins while no file of the batch before is written yet."""
    second, calls = threading.Event(), itertools.count()

    def held(*arguments) -> None:
        assert second.wait(30), "the files of the first batch were waited for"

    def before_batch(seeds: list[int]) -> None:
        if next(calls) == 1:
            second.set()

    monkeypatch.setattr(eval.generation.image_writer, "write_png", held)
    pipe, sampler = ReadyImages(white_noise()), SamplerConfig(batch_size=BATCH, height=SIDE, width=SIDE)
    report = generate(pipe, ITEMS[: 2 * BATCH], tmp_path, sampler, before_batch=before_batch)
    assert len(report.made) == 2 * BATCH


if __name__ == "__main__":
    for kind in (photograph, white_noise):
        with tempfile.TemporaryDirectory(dir=".") as place:
            measured = list(ratios(kind(), Path(place)))
        print(f"{kind.__name__}: median {statistics.median(measured):.4f} of {[round(value, 4) for value in measured]}")
