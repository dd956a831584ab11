"""Images generated one per call and in batches, compared one by one."""

import dataclasses
import os

import numpy as np
import torch

from eval.errors import RunError
from eval.generation.applied import Applied
from eval.generation.generate import sample
from eval.generation.images import to_uint8
from eval.generation.shards import batches
from eval.provenance import device_name
from eval.run.row import Row
from scripts.jobs.patching import applied
from scripts.jobs.session import Session

COLUMNS = ("method", "limit", "batch", "images", "moved", "by more than 1", "grey levels", "largest difference")
LEVELS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


@dataclasses.dataclass(frozen=True)
class Moved:
    """Differences between images generated one per call and in batches.

    images: number compared. moved, beyond: how many of them differ in a pixel, and by more than one grey level.
    levels: the largest difference of a pixel, in grey levels of 255. largest: the same before rounding, in [0, 1].
    """

    images: int
    moved: int
    beyond: int
    levels: int
    largest: float


def independence(row: Row, session: Session) -> Moved:
    """Compare the row's images in batches of its sampler's size with the same images one per call. RunError: size 1."""
    if row.sampler.batch_size == 1:
        raise RunError(
            "images generated one a call have nothing to be compared with; set sampler.batch_size to 2 or more"
        )
    pipe = session.pipeline(row.model, row.sampler)
    with applied(pipe, row.method, row.backend) as on_pipe:
        alone, together = (_images(row, pipe, size, on_pipe) for size in (1, row.sampler.batch_size))
    levels = [int(np.abs(_levels(one) - _levels(other)).max()) for one, other in zip(alone, together, strict=True)]
    moved, beyond = (sum(level > limit for level in levels) for limit in (0, 1))
    return Moved(len(levels), moved, beyond, max(levels), float(np.abs(alone - together).max()))


def arithmetic(row: Row) -> str:
    """What decides the rounding of a row's images: model, dtype, device, and for a CPU its instructions and threads."""
    parts = [row.model.name, row.sampler.dtype, f"{row.sampler.steps} steps", device_name(row.sampler.device)]
    if row.sampler.device == "cpu":
        parts += [torch.backends.cpu.get_cpu_capability(), f"{torch.get_num_threads()} threads"]
        parts += [f"{name}={os.environ[name]}" for name in LEVELS if name in os.environ]
    return ", ".join([*parts, f"torch {torch.__version__}"])


def _images(row: Row, pipe: object, size: int, on_pipe: Applied) -> np.ndarray:
    """All images of the row, [n, H, W, 3] in [0, 1], generated in batches of `size`."""
    found = []
    for batch in batches(row.prompts.items(), size):
        on_pipe.set_seeds([item.seed for item in batch])
        found.append(sample(pipe, batch, row.sampler))
    return np.concatenate(found)


def _levels(image: np.ndarray) -> np.ndarray:
    return to_uint8(image)[0].astype(int)
