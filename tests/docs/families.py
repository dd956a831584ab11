"""Every architecture the benchmark runs, as a pipeline of its real diffusers classes at a tiny size."""

from collections.abc import Callable

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from eval.generation.models.tiny import (
    TINY_MERGES,
    TINY_TEXT,
    TINY_UNET,
    TINY_VAE,
    assemble,
    clip_tokenizer,
    text_config,
)
from tests.eval.tiny_families import CLIP, tiny_family

SD21 = TINY_UNET | {"use_linear_projection": True, "attention_head_dim": (2, 2, 4, 4)}
SDXL = TINY_UNET | {
    "block_out_channels": (32, 32, 64),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": CLIP["projection_dim"] + 6 * 4,
}


def _stable_diffusion(unet: dict) -> StableDiffusionPipeline:
    tokenizer = clip_tokenizer(TINY_MERGES)
    return assemble(
        StableDiffusionPipeline,
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**unet),
        vae=AutoencoderKL(**TINY_VAE),
        text_encoder=CLIPTextModel(text_config(tokenizer, **TINY_TEXT)),
    )


def _sdxl() -> StableDiffusionXLPipeline:
    tokenizer, second = clip_tokenizer(TINY_MERGES), clip_tokenizer(TINY_MERGES, pad_token="!")
    return assemble(
        StableDiffusionXLPipeline,
        tokenizer=tokenizer,
        tokenizer_2=second,
        unet=UNet2DConditionModel(**SDXL),
        vae=AutoencoderKL(**TINY_VAE),
        text_encoder=CLIPTextModel(text_config(tokenizer, **CLIP)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(second, **CLIP)),
        add_watermarker=False,
    )


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd15": lambda: _stable_diffusion(TINY_UNET),
    "sd21": lambda: _stable_diffusion(SD21),
    "sdxl": _sdxl,
    "pixart": lambda: tiny_family("pixart"),
    "sd3": lambda: tiny_family("sd3"),
    "sd35_medium": lambda: tiny_family("sd35_medium"),
    "flux": lambda: tiny_family("flux"),
}


def family(name: str) -> DiffusionPipeline:
    """The pipeline of a family with weights of seed 0; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FAMILIES[name]()
