"""Which image (or video), which branch of guidance and which frame each row of a batch is, for every family.

Guidance stacks whole batches, branch by branch: all images without the text, then all with it (SD, SDXL, PixArt, SD 3),
then all perturbed ones (PAG). U-Nets over videos (AnimateDiff, text-to-video, I2VGen-XL) take a batch of videos
[B, C, F, H, W] and merge frame by frame: the frames of one video follow each other.
"""

from dataclasses import dataclass

import torch
from diffusers import I2VGenXLUNet, SparseControlNetModel, UNet3DConditionModel, UNetMotionModel
from torch import Tensor, nn

VIDEO_UNETS = (UNetMotionModel, UNet3DConditionModel, I2VGenXLUNet, SparseControlNetModel)


@dataclass(frozen=True)
class Rows:
    """The rows of one call, row = (branch * images + image) * frames + frame.

    Attributes:
        count: rows at a site, B.
        frames: frames of a video; 1 for images.
        images: images (or videos) of the call; None where `retom.set_seeds` was not called, so that nobody knows.
    """

    count: int
    frames: int = 1
    images: int | None = None

    @property
    def branches(self) -> int | None:
        """Branches of guidance that are stacked in the batch; None where the number of images is not known."""
        return None if self.images is None else self.count // (self.frames * self.images)

    def image(self, device: torch.device | str = "cpu") -> Tensor:
        """The image (or video) of each row, [B] int64. ValueError where it is not known."""
        return self._place(device) % self._known()

    def branch(self, device: torch.device | str = "cpu") -> Tensor:
        """The branch of guidance of each row, [B] int64. ValueError where it is not known."""
        return self._place(device) // self._known()

    def seeds(self, seeds: Tensor | None, device: torch.device) -> Tensor:
        """The seed of each row, [B] int64, from one per image; 0 throughout where none are given."""
        if seeds is None:
            return torch.zeros(self.count, dtype=torch.int64, device=device)
        rows = seeds.to(device).repeat(self.count // (self.frames * self._known()))
        return rows if self.frames == 1 else rows.repeat_interleave(self.frames)

    def _place(self, device: torch.device | str) -> Tensor:
        return torch.arange(self.count, device=device) // self.frames

    def _known(self) -> int:
        if self.images is None:
            raise ValueError(
                f"the image of each of {self.count} rows is not known; call retom.set_seeds(model, seeds) with one "
                "seed per image"
            )
        return self.images


def rows_of(denoiser: nn.Module, sample: Tensor, images: int | None) -> Rows:
    """The rows at the sites of a denoiser that is called with `sample`.

    Args:
        denoiser: the module that is called once per step.
        sample: latents [B, C, H, W], packed tokens [B, N, C], or videos [B, C, F, H, W].
        images: how many seeds were given; None for none.

    Raises:
        ValueError: for a model whose frames are not known, or a batch that is no multiple of the images.
    """
    if sample.ndim == 5 and not isinstance(denoiser, VIDEO_UNETS):
        raise ValueError(
            f"a {type(denoiser).__name__} is called with videos {list(sample.shape)}, and which rows are frames is "
            f"known of {', '.join(kind.__name__ for kind in VIDEO_UNETS)} alone"
        )
    batch, frames = sample.shape[0], sample.shape[2] if sample.ndim == 5 else 1
    if images is not None and batch % images:
        raise ValueError(
            f"seeds must fit the batch: the model is called with {batch} rows, which is no multiple of the "
            f"{images} seeds given to retom.set_seeds"
        )
    return Rows(batch * frames, frames, images)


def check_branches(wanted: tuple[int, ...] | None, rows: Rows) -> None:
    """ValueError where a method that compares branches of guidance cannot tell which rows they are.

    Without seeds, a call of as few rows as the method compares is one image.
    """
    if wanted is None:
        return
    stacked = rows.branches
    found = rows.count // rows.frames if stacked is None else stacked
    if found not in wanted:
        listed = " or ".join(map(str, wanted))
        reason = (
            "whose images are not known; call retom.set_seeds(model, seeds) with one seed per image"
            if stacked is None
            else f"{stacked} for each of {rows.images}; switch the other guidance off, or take another method"
        )
        raise ValueError(
            f"the method compares {listed} branches of guidance, and the model is called with "
            f"{rows.count // rows.frames} rows, {reason}"
        )


def by_row(output: Tensor, rows: Rows) -> Tensor:
    """What a denoiser predicted, row by row as its sites see them: videos [B, C, F, H, W] become [B F, C, H, W]."""
    if rows.frames == 1 and output.ndim != 5:
        return output
    return output.transpose(1, 2).flatten(0, 1)
