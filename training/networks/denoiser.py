"""The denoiser: a U-Net with Stable Diffusion's topology on 16x16 latents, conditioned on the frozen text tower.

It predicts the velocity (Salimans and Ho 2022, arXiv 2202.00512) under SD's noise schedule; each step's loss is
weighted by min(SNR, 5) / (SNR + 1) (Hang et al. 2023, arXiv 2303.09556).
"""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from training.choices import LoopConfig
from training.data import LabelledImages, to_signed
from training.loop import Loop, Setting
from training.networks.clip import tokens_of

UNET = {
    "sample_size": 16,
    "block_out_channels": (48, 96, 160),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": (1, 2, 4),  # the numbers of heads, as in SD 1.5's config
    "norm_num_groups": 16,
}
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
GAMMA = 5.0
DROPPED = 0.1


@dataclass(frozen=True)
class Cached:
    """Training data of the denoiser, encoded once: latents [2, N, C, 16, 16] of the images and of their mirror images,
    scaled as in the pipeline; labels [N]; text [classes + 1, length, d], the empty prompt last."""

    latents: torch.Tensor
    labels: torch.Tensor
    text: torch.Tensor


def build(channels: int, text_width: int, **changes: object) -> UNet2DConditionModel:
    """A U-Net for latents of `channels` channels and text of `text_width`; `changes` to UNET."""
    sizes = {"in_channels": channels, "out_channels": channels, "cross_attention_dim": text_width}
    return UNet2DConditionModel(**(UNET | sizes | changes))


@torch.no_grad()
def cache(
    vae: AutoencoderTiny,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    images: LabelledImages,
    batch: int = 250,
) -> Cached:
    """Encode images and prompts once, in float32."""
    device = next(vae.parameters()).device
    ids = tokens_of(tokenizer, [*images.prompts(), ""]).to(device)
    parts = [to_signed(part.to(device)) for part in images.pixels.split(batch)]
    latents = [torch.cat([vae.encode(part).latents for part in way]) for way in (parts, [p.flip(-1) for p in parts])]
    return Cached(
        torch.stack(latents) * vae.config.scaling_factor,
        images.labels.to(device),
        text_encoder(ids).last_hidden_state,
    )


def train(model: UNet2DConditionModel, cached: Cached, config: LoopConfig, setting: Setting):
    """Train for the velocity; returns the model with averaged weights, in evaluation mode."""
    loop = Loop("denoiser", model, config, setting, len(cached.labels))
    model.set_default_attn_processor()  # explicit softmax: in training on a CPU twice as fast as the fused kernel
    if config.compile:
        model.compile()
    scheduler = DDIMScheduler(**SCHEDULE)
    weights = _weights(scheduler).to(setting.device)

    def loss_of(indices: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        n = len(indices)
        mirrored = torch.randint(2, (n,), generator=generator)
        clean = cached.latents[mirrored, indices]  # [B, C, 16, 16]
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        # one step from each of n equal parts of the schedule: less variance than independent samples
        steps = ((torch.arange(n) + torch.rand(n, generator=generator)) * 1000 / n).long().clamp(max=999)
        steps = steps[torch.randperm(n, generator=generator)].to(setting.device)
        dropped = (torch.rand(n, generator=generator) < DROPPED).to(setting.device)
        text = cached.text[cached.labels[indices].masked_fill(dropped, len(cached.text) - 1)]
        noisy = scheduler.add_noise(clean, noise, steps)
        found = model(noisy, steps, text).sample.float()
        error = (found - scheduler.get_velocity(clean, noise, steps)).square().mean((1, 2, 3))  # [B]
        return {"loss": (weights[steps] * error).mean(), "error": error.mean()}

    return loop.run(loss_of)


def _weights(scheduler: DDIMScheduler) -> torch.Tensor:
    """min(SNR, gamma) / (SNR + 1) of every step [1000]: min-SNR weights for the velocity."""
    kept = scheduler.alphas_cumprod
    ratio = kept / (1 - kept)
    return ratio.clamp(max=GAMMA) / (ratio + 1)
