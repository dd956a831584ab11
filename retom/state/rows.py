"""The image (or video), the branch of guidance and the frame of each row of a batch.

Guidance stacks batches branch by branch: all images without the text, then all with it, then all perturbed ones (PAG).
Models over videos take a batch of videos [B, C, F, H, W] and merge frame by frame. The frames of one video are
consecutive rows. A family says so for its models (`retom.families`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The rows of one call, row = (branch * images + image) * frames + frame.

    Attributes:
        count: number of rows at a site, B.
        frames: number of frames of a video; 1 for images.
        images: number of images (or videos) of the call; None (unknown) if `retom.set_seeds` was not called.
    """

    count: int
    frames: int = 1
    images: int | None = None

    @classmethod
    def of(cls, batch: int, frames: int, images: int | None) -> "Rows":
        """Those of `batch` stacked images or videos.

        Raises:
            ValueError: if the batch is not a multiple of the images.
        """
        if images is not None and batch % images:
            raise ValueError(
                f"seeds must match the batch: the model is called with {batch} rows, which is not a multiple of the "
                f"{images} seeds passed to retom.set_seeds"
            )
        return cls(batch * frames, frames, images)

    @property
    def branches(self) -> int | None:
        """Number of guidance branches stacked in the batch; None if the number of images is unknown."""
        return None if self.images is None else self.count // (self.frames * self.images)

    def image(self, device: torch.device | str = "cpu") -> Tensor:
        """The image (or video) of each row, [B] int64. ValueError if it is unknown."""
        return self._place(device) % self._known()

    def branch(self, device: torch.device | str = "cpu") -> Tensor:
        """The guidance branch of each row, [B] int64. ValueError if it is unknown."""
        return self._place(device) // self._known()

    def seeds(self, seeds: Tensor | None, device: torch.device) -> Tensor:
        """The seed of each row, [B] int64, from one per image; 0 for all if None."""
        if seeds is None:
            return torch.zeros(self.count, dtype=torch.int64, device=device)
        rows = seeds.to(device).repeat(self.count // (self.frames * self._known()))
        return rows if self.frames == 1 else rows.repeat_interleave(self.frames)

    def _place(self, device: torch.device | str) -> Tensor:
        return torch.arange(self.count, device=device) // self.frames

    def _known(self) -> int:
        if self.images is None:
            raise ValueError(
                f"it is unknown which image each of {self.count} rows belongs to; call retom.set_seeds(model, seeds) "
                "with one seed per image"
            )
        return self.images


def check_branches(wanted: tuple[int, ...] | None, rows: Rows) -> None:
    """ValueError if a method compares branches of guidance and the rows do not have the branches that it needs.

    Without seeds, a call with as many rows as the method compares is taken as one image.
    """
    if wanted is None:
        return
    stacked = rows.branches
    found = rows.count // rows.frames if stacked is None else stacked
    if found not in wanted:
        listed = " or ".join(map(str, wanted))
        reason = (
            "but it is unknown which images they are; call retom.set_seeds(model, seeds) with one seed per image"
            if stacked is None
            else f"{stacked} for each of {rows.images}; disable the other guidance, or use another method"
        )
        raise ValueError(
            f"the method needs {listed} branches of guidance, and the model is called with "
            f"{rows.count // rows.frames} rows, {reason}"
        )


def by_row(output: Tensor, rows: Rows) -> Tensor:
    """The prediction of a denoiser with the rows of its sites: videos [B, C, F, H, W] become [B F, C, H, W]."""
    if rows.frames == 1 and output.ndim != 5:
        return output
    return output.transpose(1, 2).flatten(0, 1)
