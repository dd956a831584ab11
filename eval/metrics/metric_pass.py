"""One pass over the images for all per-image computations: each image is decoded once for all networks.

A task describes one array that is computed image by image: features of a network, CLIP scores, SSIM. Tasks computed
together share the decoded images, and also the preprocessed ones if their preprocessing is equal. Cached arrays are
neither decoded nor computed again.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from eval.decoding import EncodedImage, read_rgb
from eval.metrics.feature_cache import load_array, store_array
from eval.progress import Progress

_log = logging.getLogger(__name__)

Prepare = Callable[[Image.Image], torch.Tensor]
_Batch = list[list[list[torch.Tensor]]]  # by task, column and image
_Prepared = dict[int, Future[dict[Prepare, torch.Tensor]]]  # by id of the image


class Network(Protocol):
    """The network of a task. Nothing is loaded until `load`."""

    def preparer(self) -> Prepare:
        """A function from a decoded RGB image to a tensor; called from threads."""
        ...

    def load(self, device: str | torch.device) -> Any:
        """The argument `loaded` of the task's `work`, on `device`."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """One array with a row for every image.

    name: for the log and the progress bar. key: everything its values depend on; the cache key.
    columns: the images of each row; SSIM has two. work(loaded, device, start, *columns): computes the part [B, ...] of
    the batch that begins at row `start`, on the CPU, from the loaded network and a list of prepared images per column.
    """

    name: str
    key: tuple[str, ...]
    network: Network
    columns: tuple[Sequence[EncodedImage], ...]
    work: Callable[..., torch.Tensor]

    def __len__(self) -> int:
        return len(self.columns[0])

    def rows(self, start: int, stop: int) -> list[Sequence[EncodedImage]]:
        """Images `start` to `stop` of every column."""
        return [column[start:stop] for column in self.columns]


def compute(
    tasks: Sequence[Task],
    *,
    cache: Path,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    progress: Progress | None = None,
) -> dict[tuple[str, ...], np.ndarray]:
    """The array of every task by its key, from `cache`, or else computed together and stored.

    Networks see batches of `batch_size` in the order of their images, independent of other tasks. All networks are in
    memory at once, with the prepared images of two batches per set. Arrays are stored at the end of the pass.
    RunError naming an image that does not decode.
    """
    unique = {task.key: task for task in tasks}
    found = {key: load_array(cache, key) for key in unique}
    absent = [task for key, task in unique.items() if found[key] is None]
    for task, values in zip(absent, _walk(absent, device, batch_size, progress or Progress()), strict=True):
        store_array(cache, task.key, values)
        found[task.key] = values
    return found


def _walk(tasks: Sequence[Task], device: str | torch.device, batch_size: int, progress: Progress) -> list[np.ndarray]:
    """The arrays of `tasks`, which process their batches in turn."""
    for name in dict.fromkeys(task.name for task in tasks):
        _log.info("scoring %d images: %s", sum(len(task) for task in tasks if task.name == name), name)
    loaded = _once_a_network(tasks, lambda network: network.load(device))
    found: list[list[torch.Tensor]] = [[] for _ in tasks]
    if not tasks:
        return []
    scoring = progress.stage("scoring", sum(map(len, tasks)))
    # closed immediately if a network raises: otherwise the generator's threads live as long as the traceback
    with scoring as stage, contextlib.closing(_batches(tasks, batch_size)) as batches, torch.inference_mode():
        for start, batch in batches:
            for task, network, columns, parts in zip(tasks, loaded, batch, found, strict=True):
                if columns[0]:
                    stage.describe(f"scoring {', '.join(task.name.split(', ')[:2])}")  # without hashes
                    parts.append(task.work(network, device, start, *columns))
                    stage.update(len(columns[0]))
    return [torch.cat(parts).numpy() for parts in found]


def _once_a_network(tasks: Sequence[Task], make: Callable[[Network], Any]) -> list[Any]:
    """`make(network)` for every task, called once for tasks that share their network."""
    networks = {id(task.network): task.network for task in tasks}
    made = {key: make(network) for key, network in networks.items()}
    return [made[id(task.network)] for task in tasks]


def _batches(tasks: Sequence[Task], batch_size: int) -> Generator[tuple[int, _Batch], None, None]:
    """For each batch its start, and by task and column its prepared images, prepared by threads one batch ahead."""
    prepares = _once_a_network(tasks, lambda network: network.preparer())
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))

    def submit(start: int) -> _Prepared:
        needed: dict[int, tuple[EncodedImage, dict[Prepare, None]]] = {}
        for task, prepare in zip(tasks, prepares, strict=True):
            for image in (image for column in task.rows(start, start + batch_size) for image in column):
                needed.setdefault(id(image), (image, {}))[1][prepare] = None
        return {key: pool.submit(_prepare, image, tuple(wanted)) for key, (image, wanted) in needed.items()}

    def collect(start: int, prepared: _Prepared) -> _Batch:
        return [
            [[prepared[id(image)].result()[prepare] for image in column] for column in columns]
            for prepare, columns in zip(prepares, (task.rows(start, start + batch_size) for task in tasks), strict=True)
        ]

    try:
        # One batch is decoded while the networks process the previous one; more would only use memory.
        ahead = submit(0)
        for start in range(0, max(map(len, tasks), default=0), batch_size):
            current, ahead = ahead, submit(start + batch_size)
            yield start, collect(start, current)
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(image: EncodedImage, prepares: Sequence[Prepare]) -> dict[Prepare, torch.Tensor]:
    """Read and decode one image once, and prepare it for every network."""
    decoded = read_rgb(image)
    return {prepare: prepare(decoded) for prepare in prepares}
