"""One pipeline call: configures a loaded pipeline as the sampler says, and generates images of prompts with it."""

import math
from collections.abc import Callable, Sequence

import torch
from diffusers import DiffusionPipeline, FluxTransformer2DModel, PixArtAlphaPipeline, PixArtSigmaPipeline

from eval.generation.compiling import compile_in_place
from eval.generation.sampler import PIPELINE_MULTIPLE, SamplerConfig, check_multiple

BeforeBatch = Callable[[list[int]], None]


def denoiser(pipe: DiffusionPipeline) -> torch.nn.Module:
    """The pipeline's U-Net, or its transformer."""
    unet = getattr(pipe, "unet", None)
    return unet if unet is not None else pipe.transformer


def size_multiple(pipe: DiffusionPipeline) -> int:
    """Height and width must be multiples of this: the VAE's factor times the denoiser's patch, and 8 (diffusers)."""
    patch = getattr(denoiser(pipe).config, "patch_size", None) or 1
    if isinstance(denoiser(pipe), FluxTransformer2DModel):
        patch = 2  # the pipeline packs patches, and silently changes other sizes
    return math.lcm(PIPELINE_MULTIPLE, pipe.vae_scale_factor * patch)


def configure(pipe: DiffusionPipeline, sampler: SamplerConfig) -> None:
    """Set scheduler, attention and compilation of `sampler` on `pipe`, in place. ValueError if not supported."""
    for name in ("height", "width"):
        check_multiple(name, getattr(sampler, name), size_multiple(pipe))
    pipe.scheduler = _scheduler(pipe, sampler.scheduler)
    check_attention(denoiser(pipe), sampler.attention)
    if sampler.attention == "naive":
        denoiser(pipe).set_default_attn_processor()
    pipe.set_progress_bar_config(disable=True)
    if sampler.compile:
        compile_in_place(denoiser(pipe), "default")


def check_attention(module: torch.nn.Module, attention: str) -> None:
    """ValueError for "naive" attention in a denoiser other than a U-Net or PixArt."""
    if attention == "naive" and not hasattr(module, "set_default_attn_processor"):
        raise ValueError(f"attention=naive is for U-Nets and PixArt, got {type(module).__name__}; use attention=sdpa")


def call_pipeline(
    pipe: DiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int], sampler: SamplerConfig, **extra: object
):
    """One pipeline call for `len(prompts)` images, each with its own CPU generator, so that batches change no noise.

    PixArt is called with the exact size and prompt: by default it generates the nearest of its trained sizes, resizes
    that, and rewrites prompts if a package for it is installed.
    """
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    if isinstance(pipe, PixArtAlphaPipeline | PixArtSigmaPipeline):
        extra = {"use_resolution_binning": False, "clean_caption": False, **extra}
    return pipe(
        prompt=list(prompts),
        height=sampler.height,
        width=sampler.width,
        num_inference_steps=sampler.steps,
        guidance_scale=float(sampler.guidance),
        generator=generators,
        **extra,
    )


def _scheduler(pipe: DiffusionPipeline, name: str):
    compatible = {cls.__name__: cls for cls in pipe.scheduler.compatibles} | {
        type(pipe.scheduler).__name__: type(pipe.scheduler)
    }
    if name not in compatible:
        raise ValueError(
            f"scheduler {name} does not fit this model's {type(pipe.scheduler).__name__}; "
            f"allowed: {', '.join(sorted(compatible))}"
        )
    return compatible[name].from_config(pipe.scheduler.config)
