"""Whole pipelines of PixArt, SD 3, SD 3.5 and Flux from the real classes at tiny sizes: 64 px, 32 x 32 latents."""

from eval.generation.models.random_pipelines import random_pipeline
from eval.generation.models.tiny import TINY_MERGES, TINY_VAE

VAE = TINY_VAE | {"shift_factor": 0.1}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 1, "feed_forward_proj": "gated-gelu"}
CLIP = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 16,
}
PIXART = {
    "sample_size": 32,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 16,
    "caption_channels": 32,
    "use_additional_conditions": False,
}
SD3 = {
    "sample_size": 32,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 3,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "joint_attention_dim": 32,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 32,
    "pos_embed_max_size": 16,
}
SD35 = SD3 | {"dual_attention_layers": (0,), "qk_norm": "rms_norm"}
FLUX = {
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 16,
    "guidance_embeds": True,
    "axes_dims_rope": (4, 6, 6),
}
TRANSFORMERS = {"pixart": PIXART, "sd3": SD3, "sd35_medium": SD35, "flux": FLUX}


def tiny_family(name: str):
    """The tiny pipeline of a family, a key of `TRANSFORMERS`, with weights of seed 0."""
    text = {"clip": CLIP, "clip_2": CLIP, "t5": T5, "merges": TINY_MERGES}
    return random_pipeline(name, sizes={"transformer": TRANSFORMERS[name], "vae": VAE, **text})
