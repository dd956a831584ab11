"""A denoiser at full size with random weights, copies of it that share them, and what it is called with."""

import copy
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from torch import nn

from eval.architectures import SD15_UNET, SDXL_UNET, random_pipeline
from eval.bench.cells import Cell
from eval.sampler import DTYPES
from eval.tiny import TINY_UNET, tiny_pipeline

UNETS = {"sd15": (SD15_UNET, 8), "sdxl": (SDXL_UNET, 8), "tiny": (TINY_UNET, 2)}  # and pixels per latent
TEXT_LENGTH = 77


def random_denoiser(cell: Cell, seed: int = 0) -> UNet2DConditionModel:
    """The U-Net of `cell.model` on the cell's device, dtype and attention; the global random state stays as it was."""
    options, _ = UNETS[cell.model]
    forked = [] if cell.device == "cpu" else [torch.device(cell.device)]
    with torch.random.fork_rng(forked), torch.device(cell.device):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(**options)
    return prepare(nn.Module.to(unet, DTYPES[cell.dtype]), cell)


def random_pipe(cell: Cell) -> DiffusionPipeline:
    """The whole pipeline of `cell.model` on the cell's device, dtype and attention."""
    pipe = tiny_pipeline() if cell.model == "tiny" else random_pipeline(cell.model, DTYPES[cell.dtype])
    pipe = pipe.to(cell.device)
    prepare(pipe.unet, cell)
    return pipe


def prepare(unet: UNet2DConditionModel, cell: Cell) -> UNet2DConditionModel:
    """Evaluation mode, and the cell's attention. SDPA is what diffusers takes by itself."""
    if cell.attention == "naive":
        unet.set_default_attn_processor()
    return unet.eval()


def sharing_copy(module: nn.Module) -> nn.Module:
    """A copy whose modules are its own, to patch and compile, and whose parameters and buffers are the original's."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def denoiser_inputs(cell: Cell, unet: UNet2DConditionModel, seed: int = 0) -> dict[str, Any]:
    """Keyword arguments of a call, without the timestep: latents [B, 4, H, W], text [B, 77, D], SDXL's conditions."""
    side = cell.pixels // UNETS[cell.model][1]
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(cell.device, DTYPES[cell.dtype])

    inputs: dict[str, Any] = {
        "sample": draw(cell.batch, 4, side, side),
        "encoder_hidden_states": draw(cell.batch, TEXT_LENGTH, unet.config.cross_attention_dim),
    }
    if unet.config.addition_embed_type == "text_time":
        size = torch.tensor([cell.pixels, cell.pixels, 0, 0, cell.pixels, cell.pixels], device=cell.device)
        time_ids = size.to(DTYPES[cell.dtype]).repeat(cell.batch, 1)
        inputs["added_cond_kwargs"] = {"text_embeds": draw(cell.batch, 1280), "time_ids": time_ids}
    return inputs
