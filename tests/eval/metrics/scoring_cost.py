"""CPU seconds of scoring where every network is free: `python -m tests.eval.metrics.scoring_cost [COUNT]` prints them.

The decoders and the preparers are the real ones (Pillow, clean-fid, open_clip); networks and SSIM return a few of their
input's numbers. It uses only public names of `eval`: to compare two checkouts, run this file in turn with PYTHONPATH
set to one and to the other.
"""

import resource
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

import eval.metrics.ssim
from eval.metrics.clip_score import VIT_B32, VIT_L14, TextAgreement
from eval.metrics.features import CLEAN_INCEPTION, PYTORCH_INCEPTION, CleanFidNetwork
from eval.metrics.fid import FrechetDistance
from eval.metrics.kid import KernelDistance
from eval.metrics.profiles import REAL, ImageSet, ScoredImage, score
from eval.metrics.ssim import Likeness
from eval.metrics.stats import Bootstrap
from eval.reference import ReferenceSet

SIDE = 512


class Free:
    """The preparer of a real network; 48 of its input's numbers stand for features."""

    def __init__(self, real, identity: str):
        self.preparer, self.identity = real.preparer, identity

    def load(self, device):
        return lambda batch: batch[:, :, ::60, ::80].flatten(1)[:, :48]


class FreeClip(Free):
    def load(self, device):
        return super().load(device), lambda texts: torch.ones(len(texts), 36)


@dataclass(frozen=True)
class FreeMetrics:
    """Every measure of the real profile."""

    profile: ClassVar[str] = "real"
    batch_size: int = 32
    clean: ClassVar[Free] = Free(CleanFidNetwork("clean", CLEAN_INCEPTION), "clean")
    legacy: ClassVar[Free] = Free(CleanFidNetwork("legacy_pytorch", PYTORCH_INCEPTION), "legacy")
    b32: ClassVar[FreeClip] = FreeClip(VIT_B32, "b32")
    l14: ClassVar[FreeClip] = FreeClip(VIT_L14, "l14")

    @property
    def columns(self) -> dict:
        distances = FrechetDistance(self.clean), FrechetDistance(self.legacy), KernelDistance(self.clean)
        return dict(zip(REAL, (*distances, TextAgreement(self.b32), TextAgreement(self.l14), Likeness()), strict=True))


def photographs(folder: Path, count: int, seed: int) -> ImageSet:
    """Smooth shapes with grain: they take as long to decode as photographs do."""
    folder.mkdir()
    noise, found = np.random.default_rng(seed), []
    for number in range(count):
        coarse = Image.fromarray(noise.integers(0, 256, (SIDE // 16, SIDE // 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
        grainy = (smooth + noise.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = folder / f"{number:04d}.png"
        Image.fromarray(grainy).save(path, compress_level=1)
        found.append(ScoredImage(path.stem, number // 2, "a thing", path))
    return ImageSet(tuple(found))


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(count: int) -> None:
    """Score `count` images alone, then with SSIM and differences to as many others."""
    torch.set_num_threads(1)
    eval.metrics.ssim.structural_similarity_index_measure = lambda a, b, **_: (a - b)[..., ::64, ::64].abs().mean()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, unmerged, real = (photographs(folder / str(seed), count, seed) for seed in range(3))
        reference = ReferenceSet(real.images, tuple(real.class_indices), real.hash)
        for label, against in (("alone", {}), ("with none", {"none": unmerged})):
            before = cpu()
            options = {"cache": folder / label, "bootstrap": Bootstrap(replicates=4), "against": against}
            score(images, reference, FreeMetrics(), **options)
            print(f"{label}: {cpu() - before:.2f} CPU seconds", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
