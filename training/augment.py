"""Augmentation of a batch of images with a given random generator."""

import torch
from torch.nn import functional


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images [B, C, H, W], left to right."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen[:, None, None, None].to(images.device), images.flip(-1), images)


def shift_and_scale(
    images: torch.Tensor, generator: torch.Generator, *, shift: float = 0.12, scale: float = 0.2
) -> torch.Tensor:
    """Move each image by up to `shift` of its side and zoom by up to `scale`, bilinear, mirrored at the border."""
    n = len(images)
    zoom = 1 + scale * (2 * torch.rand(n, generator=generator) - 1)
    stretch = 1 + 0.5 * scale * (2 * torch.rand(n, generator=generator) - 1)
    offset = 2 * shift * (2 * torch.rand(n, 2, generator=generator) - 1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = zoom * stretch, zoom / stretch, offset
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False).to(images.device)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def colour(images: torch.Tensor, generator: torch.Generator, strength: float = 0.25) -> torch.Tensor:
    """Change brightness, contrast and saturation of images in [-1, 1] by up to `strength`; the range is not clipped."""
    n = len(images)
    light, contrast, saturation = (
        (strength * (2 * torch.rand(n, 1, 1, 1, generator=generator) - 1)).to(images.device) for _ in range(3)
    )
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1 + saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (1 + contrast) + light


def cutmix(
    images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, share: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """In `share` of the batches, paste one box of each image from another one (Yun et al. 2019, arXiv 1905.04899).

    targets: probabilities [B, K], mixed by the box's area.
    """
    draw, centre_y, centre_x, kept = torch.rand(4, generator=generator).tolist()
    order = torch.randperm(len(images), generator=generator).to(images.device)
    if draw >= share:
        return images, targets
    height, width = images.shape[-2:]
    half = 0.5 * (1 - kept) ** 0.5
    top, bottom = (round(height * min(1, max(0, centre_y + sign * half))) for sign in (-1, 1))
    left, right = (round(width * min(1, max(0, centre_x + sign * half))) for sign in (-1, 1))
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[order][..., top:bottom, left:right]
    area = (bottom - top) * (right - left) / (height * width)
    return mixed, targets * (1 - area) + targets[order] * area
