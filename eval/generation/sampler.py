"""How images are sampled: scheduler, steps, guidance, size, dtype, device, attention, compilation, batch size."""

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Sequence

import diffusers
import torch
from diffusers import DiffusionPipeline, FluxTransformer2DModel, PixArtAlphaPipeline, PixArtSigmaPipeline

from eval.checks import check_flag, check_integer, check_number
from eval.devices import check_device_name
from eval.generation.compiling import compile_in_place
from eval.records.canonical import depends_on_batch

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
ATTENTIONS = ("sdpa", "naive")
PIPELINE_MULTIPLE = 8  # diffusers' pipelines reject other sizes, whatever the VAE


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """Everything besides model, method and prompt that affects an image.

    scheduler: a diffusers scheduler class, configured from the model's own. steps: inference steps. guidance:
    classifier-free guidance scale. height, width: pixels. dtype: "float32" | "float16" | "bfloat16".
    device: "cpu" | "cuda" | "cuda:N". attention: "sdpa" (fused) | "naive" (explicit softmax matrix).
    compile: torch.compile of the denoiser. batch_size: images per pipeline call; see `images_depend_on_batch`.
    """

    scheduler: str = "PNDMScheduler"
    steps: int = 50
    guidance: float = 7.5
    height: int = 512
    width: int = 512
    dtype: str = "float32"
    device: str = "cpu"
    attention: str = "sdpa"
    compile: bool = False
    batch_size: int = 1

    def __post_init__(self) -> None:
        _check_choice("scheduler", self.scheduler, scheduler_names())
        _check_choice("dtype", self.dtype, list(DTYPES))
        _check_choice("attention", self.attention, list(ATTENTIONS))
        check_integer("steps", self.steps, 1)
        check_integer("batch_size", self.batch_size, 1)
        for name in ("height", "width"):
            check_integer(name, getattr(self, name), 1)
            check_multiple(name, getattr(self, name), PIPELINE_MULTIPLE)
        check_number("guidance", self.guidance, "[0, inf)")
        check_device_name(self.device)
        check_flag("compile", self.compile)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The torch dtype of weights and activations."""
        return DTYPES[self.dtype]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of an image."""
        return self.width, self.height

    @property
    def images_depend_on_batch(self) -> bool:
        """Whether `batch_size` changes images beyond float noise and is therefore hashed (`depends_on_batch`)."""
        return depends_on_batch(self.dtype)


def scheduler_names() -> list[str]:
    """The scheduler classes of the installed diffusers that torch can run."""
    return sorted(name for name in dir(diffusers.schedulers) if re.fullmatch(r"(?!Flax)\w+Scheduler", name))


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


BeforeBatch = Callable[[list[int]], None]


def check_multiple(name: str, value: int, multiple: int) -> None:
    """ValueError with the nearest allowed value if `value` is not a multiple of `multiple`."""
    if value % multiple:
        nearest = max(multiple, multiple * round(value / multiple))
        raise ValueError(f"{name} must be a multiple of {multiple}, got {value}; the nearest is {nearest}")


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


def _check_choice(name: str, value: object, allowed: list[str]) -> None:
    if value not in allowed:
        nearest = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.0)[0]
        listed = f" of {', '.join(allowed)}" if len(allowed) < 10 else ""
        raise ValueError(f"{name}: unknown {value!r}, the nearest{listed} is {nearest}")
