"""SD 3, SD 3.5 and Flux from the real classes at tiny sizes, and their inputs."""

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

GRID = (4, 6)
TEXT = 5


def sd3(dual=()):
    torch.manual_seed(0)
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=10,
        out_channels=4,
        pos_embed_max_size=16,
        dual_attention_layers=dual,
        qk_norm="rms_norm" if dual else None,
    ).eval()


def flux():
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=4,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        axes_dims_rope=(4, 6, 6),
    ).eval()


def position_ids(grid):
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()


def inputs(model, *, batch=1, grid=GRID, seed=0):
    """Keyword arguments of a call, the timestep among them."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    packed = isinstance(model, FluxTransformer2DModel)
    latents = draw(batch, grid[0] * grid[1], 4) if packed else draw(batch, 4, 2 * grid[0], 2 * grid[1])
    ids = {"img_ids": position_ids(grid), "txt_ids": torch.zeros(TEXT, 3)} if packed else {}
    text = {"encoder_hidden_states": draw(batch, TEXT, 12), "pooled_projections": draw(batch, 10)}
    return {"hidden_states": latents, "timestep": torch.full((batch,), 0.7 if packed else 700.0), **text, **ids}


def run(model, **options):
    with torch.no_grad():
        return model(**inputs(model, **options)).sample


MODELS = {"sd3": sd3, "sd35": lambda: sd3(dual=(0, 1)), "flux": flux}
