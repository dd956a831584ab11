"""The autoencoder: images of 64x64 to latents of 16x16 and back, with diffusers' `AutoencoderTiny`."""

import torch
from diffusers import AutoencoderTiny
from torch.nn import functional

from training.augment import flip
from training.choices import LoopConfig
from training.data import LabelledImages, to_signed
from training.loop import Loop, Setting

CHANNELS, WIDTH = 10, 32
ENCODER_BLOCKS, DECODER_BLOCKS = (0, 1, 3), (3, 2, 0)
LATENT_NOISE, LATENT_WEIGHT = 0.05, 0.02


def build(width: int = WIDTH, channels: int = CHANNELS) -> AutoencoderTiny:
    """An autoencoder of factor 4 with `channels` latent channels."""
    return AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=(width,) * 3,
        decoder_block_out_channels=(width,) * 3,
        num_encoder_blocks=ENCODER_BLOCKS,
        num_decoder_blocks=DECODER_BLOCKS,
    )


def train(model: AutoencoderTiny, train: LabelledImages, val: LabelledImages, config: LoopConfig, setting: Setting):
    """Train for the squared error, latents near mean 0 and variance 1; returns the model in evaluation mode.

    Noise on the latents makes the decoder robust to a denoiser's residual noise.
    """
    loop = Loop("autoencoder", model.to(memory_format=torch.channels_last), config, setting, len(train))
    if config.compile:
        model.encoder.compile()
        model.decoder.compile()

    def loss_of(indices: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        images = flip(to_signed(train.pixels[indices].to(setting.device)), generator)
        latents = model.encoder(images.contiguous(memory_format=torch.channels_last)).float()
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        rebuilt = model.decoder(latents + LATENT_NOISE * noise).float()
        error = functional.mse_loss(rebuilt, images)
        spread = latents.mean((0, 2, 3)).square().mean() + (latents.square().mean() - 1).square()
        absolute = functional.l1_loss(rebuilt, images)
        return {"loss": error + 0.1 * absolute + LATENT_WEIGHT * spread, "error": error, "spread": spread}

    return loop.run(loss_of, evaluate=lambda: {"psnr": psnr(model, val)}, every=500)


@torch.no_grad()
def latent_scale(model: AutoencoderTiny, data: LabelledImages, batch: int = 100) -> float:
    """The factor that scales latents of `data` to variance 1, to four digits."""
    device = next(model.parameters()).device
    parts = (to_signed(part.to(device)) for part in data.pixels.split(batch))
    squares = torch.cat([model.encode(part).latents.square().mean((1, 2, 3)).cpu() for part in parts])
    return round(float(squares.mean().rsqrt()), 4)


@torch.no_grad()
def rebuild(model: AutoencoderTiny, images: torch.Tensor, batch: int = 100) -> torch.Tensor:
    """Reconstruct images [N, 3, 64, 64] in [-1, 1], clipped to that range."""
    device = next(model.parameters()).device
    parts = (part.to(device) for part in images.split(batch))
    return torch.cat([model.decode(model.encode(part).latents).sample.clamp(-1, 1).cpu() for part in parts])


def psnr(model: AutoencoderTiny, data: LabelledImages) -> float:
    """Mean over images of the peak signal-to-noise ratio in dB, of values in [0, 1]."""
    images = to_signed(data.pixels)
    error = ((rebuild(model, images) - images) / 2).square().mean((1, 2, 3))
    return float((-10 * error.log10()).mean())
