"""A full-size denoiser with random weights, copies of it that share them, and its inputs."""

import copy
import os
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, FluxTransformer2DModel, UNet2DConditionModel
from torch import nn

from eval.errors import RunError
from eval.generation.calls import check_attention
from eval.generation.models.architectures import UNETS
from eval.generation.models.config import ModelConfig
from eval.generation.models.diffusion_transformers import TRANSFORMERS, random_transformer, transformer_inputs
from eval.generation.models.random_pipelines import random_pipeline
from eval.generation.models.skeleton import denoiser_skeleton
from eval.generation.models.tiny import TINY_UNET, tiny_pipeline
from eval.speed.bench.cells import TINY, Cell

TEXT_LENGTH = 77
TIMESTEPS = 1000


def random_denoiser(cell: Cell, seed: int = 0) -> nn.Module:
    """The denoiser of `cell.model` with the cell's device, dtype and attention. The global random state is unchanged.

    RunError if its weights do not fit into memory, ValueError if it does not support the attention.
    """
    check_fits(cell)
    if cell.model in TRANSFORMERS:
        model = random_transformer(cell.model, dtype=getattr(torch, cell.dtype), device=cell.device, seed=seed)
        return prepare(model, cell)
    forked = [] if cell.device == "cpu" else [torch.device(cell.device)]
    with torch.random.fork_rng(forked), torch.device(cell.device):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(**(TINY_UNET if cell.model == TINY else UNETS[cell.model]))
    return prepare(nn.Module.to(unet, getattr(torch, cell.dtype)), cell)


def random_pipe(cell: Cell) -> DiffusionPipeline:
    """The pipeline of `cell.model` with the cell's device, dtype and attention. Errors as in `random_denoiser`."""
    check_fits(cell)
    forked = [] if cell.device == "cpu" else [torch.device(cell.device)]
    with torch.random.fork_rng(forked), torch.device(cell.device):  # a GPU generates a billion weights at once
        pipe = tiny_pipeline() if cell.model == TINY else random_pipeline(cell.model, getattr(torch, cell.dtype))
    pipe = pipe.to(cell.device)
    prepare(pipe.unet if hasattr(pipe, "unet") else pipe.transformer, cell)
    return pipe


def prepare(denoiser: nn.Module, cell: Cell) -> nn.Module:
    """Set evaluation mode and the cell's attention. SDPA is the default of diffusers."""
    check_attention(denoiser, cell.attention)
    if cell.attention == "naive":
        denoiser.set_default_attn_processor()
    return denoiser.eval()


def check_fits(cell: Cell) -> None:
    """RunError if the denoiser's weights exceed the free memory, where the system would kill the process."""
    kind = {"kind": "tiny"} if cell.model == TINY else {"kind": "random", "architecture": cell.model}
    skeleton = denoiser_skeleton(ModelConfig(cell.model, **kind))
    needed = sum(weight.numel() for weight in skeleton.parameters()) * getattr(torch, cell.dtype).itemsize
    free = free_bytes(cell.device)
    if needed > free:
        raise RunError(
            f"the weights of {cell.model} in {cell.dtype} take {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free; "
            "use a smaller dtype, or a machine with more memory"
        )


def free_bytes(device: str) -> int:
    """Available memory of the device; for the host, what the system reports as available."""
    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s*(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    return 1024 * int(found[1]) if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def sharing_copy(module: nn.Module) -> nn.Module:
    """A copy with its own modules, to patch and compile, that shares the original's parameters and buffers."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def denoiser_inputs(cell: Cell, denoiser: nn.Module, seed: int = 0) -> dict[str, Any]:
    """Keyword arguments of a call except the timestep, latents first.

    U-Nets: latents [B, 4, H, W], text [B, 77, D], SDXL's conditions. Transformers: `transformer_inputs`.
    """
    dtype = getattr(torch, cell.dtype)
    if not isinstance(denoiser, UNet2DConditionModel):
        size = {"height": cell.pixels, "width": cell.pixels}
        return transformer_inputs(denoiser, **size, batch=cell.batch, dtype=dtype, device=cell.device, seed=seed)
    side = cell.pixels // (2 if cell.model == TINY else 8)  # pixels per latent
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(cell.device, dtype)

    inputs: dict[str, Any] = {
        "sample": draw(cell.batch, 4, side, side),
        "encoder_hidden_states": draw(cell.batch, TEXT_LENGTH, denoiser.config.cross_attention_dim),
    }
    if denoiser.config.addition_embed_type == "text_time":
        size = torch.tensor([cell.pixels, cell.pixels, 0, 0, cell.pixels, cell.pixels], device=cell.device)
        time_ids = size.to(dtype).repeat(cell.batch, 1)
        inputs["added_cond_kwargs"] = {"text_embeds": draw(cell.batch, 1280), "time_ids": time_ids}
    return inputs


def timestep(denoiser: nn.Module, step: int, batch: int) -> torch.Tensor:
    """The timestep of call `step` of a generation (falling), on the host: [B] in 0 to 1000, for Flux in 0 to 1."""
    value = TIMESTEPS - 1 - step % TIMESTEPS
    return torch.full((batch,), value / TIMESTEPS if isinstance(denoiser, FluxTransformer2DModel) else value)
