"""A custom denoising loop on a tiny U-Net, and a pipeline with a plain scheduler."""

import torch
from diffusers import DDIMScheduler

from eval.generation.models.tiny import SD_SCHEDULER

SCHEDULE = torch.linspace(950, 50, 6)


def text(seed=0, rows=1):
    return torch.randn(rows, 7, 32, generator=torch.Generator().manual_seed(seed))


def latents(seed=0, rows=1, size=16):
    return torch.randn(rows, 4, size, size, generator=torch.Generator().manual_seed(seed))


def step(unet, x, timestep, embeddings):
    with torch.no_grad():
        return x - 0.1 * unet(x, timestep, encoder_hidden_states=embeddings).sample


def side_by_side(unet, tiles, texts, schedule=SCHEDULE):
    """Each tile after all steps. Every step processes all tiles in order."""
    for timestep in schedule:
        tiles = [step(unet, tile, timestep, embeddings) for tile, embeddings in zip(tiles, texts, strict=True)]
    return tiles


def ddim(pipe):
    options = {key: value for key, value in SD_SCHEDULER.items() if key != "skip_prk_steps"}
    pipe.scheduler = DDIMScheduler(clip_sample=False, **options)
    return pipe
