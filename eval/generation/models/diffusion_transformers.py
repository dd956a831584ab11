"""Published diffusion transformers at full size with seeded random weights, and inputs for them.

The numbers come from the models' own config files: PixArt-XL-2-1024-MS, stable-diffusion-3-medium, -3.5-medium,
-3.5-large and FLUX.1-dev. Only the denoisers are built: the text encoders have up to 4.7 billion parameters and run
once per image, so a speed bench uses random embeddings of the real shape instead.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, PixArtTransformer2DModel, SD3Transformer2DModel
from torch import Tensor, nn

PIXART_XL = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "cross_attention_dim": 1152,
    "caption_channels": 4096,
    "interpolation_scale": 2,
}
SD3_MEDIUM = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "num_attention_heads": 24,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
SD35_MEDIUM = SD3_MEDIUM | {
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
    "pos_embed_max_size": 384,
}
SD35_LARGE = SD3_MEDIUM | {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "qk_norm": "rms_norm",
}
FLUX_DEV = {
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}
TRANSFORMERS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "pixart": (PixArtTransformer2DModel, PIXART_XL),
    "sd3": (SD3Transformer2DModel, SD3_MEDIUM),
    "sd35_medium": (SD3Transformer2DModel, SD35_MEDIUM),
    "sd35_large": (SD3Transformer2DModel, SD35_LARGE),
    "flux": (FluxTransformer2DModel, FLUX_DEV),
}
PIXELS_PER_TOKEN = 16  # of all families: the VAE's factor 8 times patches of 2 (packed by the pipeline for Flux)
TEXT_LENGTHS = {PixArtTransformer2DModel: 120, SD3Transformer2DModel: 77 + 256, FluxTransformer2DModel: 512}


def random_transformer(
    architecture: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu", seed: int = 0
) -> nn.Module:
    """The transformer of `architecture` with random weights from `seed`, created on `device` in `dtype`.

    Size in bfloat16: pixart 1.2 GB, sd3 4.2 GB, sd35_medium 4.9 GB, sd35_large 16 GB, flux 24 GB; twice that in
    float32. The global random state and default dtype are unchanged.

    Raises:
        ValueError: if the architecture is unknown.
    """
    if architecture not in TRANSFORMERS:
        raise ValueError(f"architecture must be one of {', '.join(TRANSFORMERS)}, got {architecture!r}")
    kind, options = TRANSFORMERS[architecture]
    forked = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(forked), torch.device(device):
        torch.manual_seed(seed)
        return made_in(dtype, kind, options).eval()


def made_in(dtype: torch.dtype, kind: type[nn.Module], options: Mapping[str, Any]) -> nn.Module:
    """A network created directly in `dtype`. Creating a large one in float32 first would need twice its memory."""
    with _default_dtype(dtype):
        # position tables are created in float32 whatever the default dtype
        return nn.Module.to(kind(**options), dtype)


def transformer_inputs(
    model: nn.Module, *, height: int, width: int, batch: int = 1, dtype: torch.dtype, device: str = "cpu", seed: int = 0
) -> dict[str, Any]:
    """Keyword arguments of one call except the timestep: random latents and text of the shapes a pipeline passes.

    Args:
        model: an instance of one of the classes of `TRANSFORMERS`, of any size.
        height, width: of the image, in pixels, multiples of 16.
        batch: rows; twice the number of images if guidance is batched.

    Raises:
        ValueError: for another class, or another height or width.
    """
    length = TEXT_LENGTHS.get(type(model))
    if length is None:
        allowed = ", ".join(kind.__name__ for kind in TEXT_LENGTHS)
        raise ValueError(f"model must be one of {allowed}, got {type(model).__name__}")
    for name, pixels in (("height", height), ("width", width)):
        if pixels < PIXELS_PER_TOKEN or pixels % PIXELS_PER_TOKEN:
            raise ValueError(f"{name} must be a positive multiple of {PIXELS_PER_TOKEN}, got {pixels}")
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator).to(device, dtype)

    grid = (height // PIXELS_PER_TOKEN, width // PIXELS_PER_TOKEN)
    if isinstance(model, FluxTransformer2DModel):
        return _flux_inputs(model, draw, grid, length, dtype, device)
    inputs = {"hidden_states": draw(model.config.in_channels, 2 * grid[0], 2 * grid[1])}
    if isinstance(model, SD3Transformer2DModel):
        text = draw(length, model.config.joint_attention_dim)
        return inputs | {"encoder_hidden_states": text, "pooled_projections": draw(model.config.pooled_projection_dim)}
    conditions: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
    if model.use_additional_conditions:
        size = torch.tensor([[height, width]], device=device, dtype=dtype).repeat(batch, 1)
        ratio = torch.full((batch, 1), height / width, device=device, dtype=dtype)
        conditions = {"resolution": size, "aspect_ratio": ratio}
    return inputs | {
        "encoder_hidden_states": draw(length, model.config.caption_channels),
        "added_cond_kwargs": conditions,
    }


def _flux_inputs(model, draw, grid: tuple[int, int], length: int, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Flux takes packed tokens with their positions: (image, row, column), text at the origin."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    ids = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
    latents = draw(grid[0] * grid[1], model.config.in_channels)
    guidance = torch.full((latents.shape[0],), 3.5, device=device) if model.config.guidance_embeds else None
    return {
        "hidden_states": latents,
        "encoder_hidden_states": draw(length, model.config.joint_attention_dim),
        "pooled_projections": draw(model.config.pooled_projection_dim),
        "guidance": guidance,
        "img_ids": ids.to(device, dtype),
        "txt_ids": torch.zeros(length, 3, device=device, dtype=dtype),
    }


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
