"""Published U-Net architectures at full size, without weights: same cost and token grids as the real models.

The numbers come from the models' own config files (stable-diffusion-v1-5, stable-diffusion-2-1,
stable-diffusion-xl-base-1.0). Transformers are in `diffusion_transformers.py`, complete pipelines in
`random_pipelines.py`.
"""

from collections.abc import Callable

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from eval.generation.models.tiny import SD_SCHEDULER, assemble, clip_tokenizer, text_config

SD15_UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD21_UNET = SD15_UNET | {
    "sample_size": 96,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
KL_F8 = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
}
SDXL_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
CLIP_H = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "projection_dim": 512,
    "hidden_act": "gelu",
}
CLIP_BIG_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}


UNETS = {"sd15": SD15_UNET, "sd21": SD21_UNET, "sdxl": SDXL_UNET}


def _sd15(dtype: torch.dtype) -> StableDiffusionPipeline:
    tokenizer = clip_tokenizer()
    return assemble(
        StableDiffusionPipeline,
        tokenizer=tokenizer,
        unet=cast(UNet2DConditionModel(**SD15_UNET), dtype),
        vae=cast(AutoencoderKL(**KL_F8, sample_size=512), dtype),
        text_encoder=cast(CLIPTextModel(text_config(tokenizer, **CLIP_L)), dtype),
    )


def _sd21(dtype: torch.dtype) -> StableDiffusionPipeline:
    tokenizer = clip_tokenizer(pad_token="!")
    return assemble(
        StableDiffusionPipeline,
        scheduler=PNDMScheduler(**SD_SCHEDULER, prediction_type="v_prediction"),
        tokenizer=tokenizer,
        unet=cast(UNet2DConditionModel(**SD21_UNET), dtype),
        vae=cast(AutoencoderKL(**KL_F8, sample_size=768), dtype),
        text_encoder=cast(CLIPTextModel(text_config(tokenizer, **CLIP_H)), dtype),
    )


def _sdxl(dtype: torch.dtype) -> StableDiffusionXLPipeline:
    tokenizer, second = clip_tokenizer(), clip_tokenizer(pad_token="!")
    return assemble(
        StableDiffusionXLPipeline,
        scheduler=EulerDiscreteScheduler(**SDXL_SCHEDULER),
        tokenizer=tokenizer,
        tokenizer_2=second,
        unet=cast(UNet2DConditionModel(**SDXL_UNET), dtype),
        vae=cast(AutoencoderKL(**KL_F8, sample_size=1024, scaling_factor=0.13025, force_upcast=True), dtype),
        text_encoder=cast(CLIPTextModel(text_config(tokenizer, **CLIP_L)), dtype),
        text_encoder_2=cast(CLIPTextModelWithProjection(text_config(second, **CLIP_BIG_G)), dtype),
        add_watermarker=False,
    )


def cast(part: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """The network in `dtype`, by `torch.nn.Module.to`. The libraries' own `to` warns about parts to keep in float32."""
    return torch.nn.Module.to(part, dtype)


UNET_PIPELINES: dict[str, Callable[[torch.dtype], DiffusionPipeline]] = {"sd15": _sd15, "sd21": _sd21, "sdxl": _sdxl}
