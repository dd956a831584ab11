"""Complete pipelines with seeded random weights: U-Net based ones, PixArt, SD 3, SD 3.5 and Flux.

Denoiser, VAE and CLIP have the published sizes. T5-XXL has one of its 24 layers: the encoder runs once per image, and
the full encoder has 4.7 billion parameters. Its tokenizer uses CLIP's words. Schedulers are configured as published.
"""

import string
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    PixArtAlphaPipeline,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel, T5Tokenizer

from eval.generation.models.architectures import CLIP_BIG_G, CLIP_L, KL_F8, UNET_PIPELINES, cast
from eval.generation.models.diffusion_transformers import TRANSFORMERS, made_in
from eval.generation.models.tiny import CLIP_MERGES, assemble, clip_tokenizer, text_config

T5_XXL_LAYER = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_heads": 64,
    "num_layers": 1,
    "feed_forward_proj": "gated-gelu",
}
KL_F8_16 = KL_F8 | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False, "sample_size": 1024}
PIXART_SCHEDULER = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
FLUX_SCHEDULER = {"shift": 3.0, "use_dynamic_shifting": True}
SD3_VAE = KL_F8_16 | {"scaling_factor": 1.5305, "shift_factor": 0.0609}
FLUX_VAE = KL_F8_16 | {"scaling_factor": 0.3611, "shift_factor": 0.1159}
SIZES: dict[str, dict[str, Any]] = {
    "pixart": {"vae": KL_F8 | {"sample_size": 1024}, "t5": T5_XXL_LAYER},
    "flux": {"vae": FLUX_VAE, "clip": CLIP_L, "t5": T5_XXL_LAYER},
} | {
    name: {"vae": SD3_VAE, "clip": CLIP_L, "clip_2": CLIP_BIG_G, "t5": T5_XXL_LAYER}
    for name in ("sd3", "sd35_medium", "sd35_large")
}
Sizes = Mapping[str, Any]


def random_pipeline(
    architecture: str, dtype: torch.dtype = torch.float32, seed: int = 0, sizes: Sizes | None = None
) -> DiffusionPipeline:
    """The pipeline of `architecture`, a key of `PIPELINES`, at full size, with random weights from `seed`.

    Size in float32: sd15 4.3, sd21 5.2, sdxl 14, pixart 3.7, sd3 13, sd35_medium 14, sd35_large 37, flux 49 GB. The
    global random state is unchanged. Images are noise; cost, shapes and token grids are those of the real model.

    Args:
        architecture: such as "sd15" or "flux".
        dtype: of all networks.
        seed: of the weights.
        sizes: options that replace the published ones, by part ("transformer", "vae", "clip", "clip_2", "t5", and
            "merges" of CLIP's tokenizer); for pipelines around a transformer.

    Raises:
        ValueError: if the architecture is unknown.
    """
    if architecture not in PIPELINES:
        raise ValueError(f"architecture must be one of {', '.join(PIPELINES)}, got {architecture!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture in UNET_PIPELINES:
            return UNET_PIPELINES[architecture](dtype)
        published = {"transformer": TRANSFORMERS[architecture][1], "merges": CLIP_MERGES} | SIZES[architecture]
        return PIPELINES[architecture](dtype, published | dict(sizes or {}))


def _pixart(dtype: torch.dtype, sizes: Sizes) -> PixArtAlphaPipeline:
    return assemble(
        PixArtAlphaPipeline,
        scheduler=DPMSolverMultistepScheduler(**PIXART_SCHEDULER),
        transformer=_transformer("pixart", sizes, dtype),
        vae=cast(AutoencoderKL(**sizes["vae"]), dtype),
        **_t5(sizes, dtype),
    )


def _sd3(dtype: torch.dtype, sizes: Sizes) -> StableDiffusion3Pipeline:
    tokenizer, second = clip_tokenizer(sizes["merges"]), clip_tokenizer(sizes["merges"], pad_token="!")
    return assemble(
        StableDiffusion3Pipeline,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=_transformer("sd3", sizes, dtype),
        vae=cast(AutoencoderKL(**sizes["vae"]), dtype),
        tokenizer=tokenizer,
        tokenizer_2=second,
        text_encoder=cast(CLIPTextModelWithProjection(text_config(tokenizer, **sizes["clip"])), dtype),
        text_encoder_2=cast(CLIPTextModelWithProjection(text_config(second, **sizes["clip_2"])), dtype),
        **_t5(sizes, dtype, "_3"),
    )


def _flux(dtype: torch.dtype, sizes: Sizes) -> FluxPipeline:
    tokenizer = clip_tokenizer(sizes["merges"])
    return assemble(
        FluxPipeline,
        scheduler=FlowMatchEulerDiscreteScheduler(**FLUX_SCHEDULER),
        transformer=_transformer("flux", sizes, dtype),
        vae=cast(AutoencoderKL(**sizes["vae"]), dtype),
        tokenizer=tokenizer,
        text_encoder=cast(CLIPTextModel(text_config(tokenizer, **sizes["clip"])), dtype),
        **_t5(sizes, dtype, "_2"),
    )


PIPELINES: dict[str, Callable[..., DiffusionPipeline]] = UNET_PIPELINES | {
    "pixart": _pixart,
    "sd3": _sd3,
    "sd35_medium": _sd3,
    "sd35_large": _sd3,
    "flux": _flux,
}


def _transformer(family: str, sizes: Sizes, dtype: torch.dtype) -> torch.nn.Module:
    return made_in(dtype, TRANSFORMERS[family][0], sizes["transformer"])


def _t5(sizes: Sizes, dtype: torch.dtype, suffix: str = "") -> dict[str, Any]:
    """Encoder and tokenizer by the pipeline's component names."""
    tokenizer = t5_tokenizer(sizes["merges"])
    config = T5Config(vocab_size=len(tokenizer), **sizes["t5"])
    return {f"tokenizer{suffix}": tokenizer, f"text_encoder{suffix}": cast(T5EncoderModel(config), dtype)}


def t5_tokenizer(merges: int = CLIP_MERGES) -> T5Tokenizer:
    """T5's tokenizer class with single characters and the words of CLIP's first `merges` merges as pieces."""
    words = [word.removesuffix("</w>") for word in clip_tokenizer(merges).get_vocab() if word.endswith("</w>")]
    pieces = dict.fromkeys(["▁", *(f"▁{word}" for word in sorted(words)), *string.printable.strip()])
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -1.0) for piece in pieces)]
    return T5Tokenizer(vocab=scored, extra_ids=0, model_max_length=512)
