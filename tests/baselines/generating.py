"""Shared by the tests of this folder: contexts, activations, one denoiser call, one image."""

import torch

from retom import SiteContext


def context(seeds=(0,), **changes) -> SiteContext:
    """A site at the top level of the down path, at step 3."""
    values = {"name": "site", "layer": 2, "layer_type": "down", "downsample": 1, "step": 3} | changes
    return SiteContext(**values, seeds=torch.tensor(seeds))


def tokens(batch: int, grid: tuple[int, int], channels: int = 16, seed: int = 0) -> torch.Tensor:
    """Random tokens [B, H * W, C]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, grid[0] * grid[1], channels, generator=generator)


def denoise(unet, size: tuple[int, int] = (32, 32), batch: int = 2, seed: int = 0) -> torch.Tensor:
    """One U-Net call on random latents [B, 4, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, 4, *size, generator=generator)
    text = torch.randn(batch, 7, unet.config.cross_attention_dim, generator=generator)
    with torch.no_grad():
        return unet(latents, 500, text).sample


def generate(pipe, seeds: list[int], guidance: float = 7.5, size: int = 64) -> torch.Tensor:
    """Images [B, 3, H, W] from one pipeline call of two steps, one generator per image."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    options = {"num_inference_steps": 2, "guidance_scale": guidance, "height": size, "width": size}
    return pipe(["a cat"] * len(seeds), generator=generators, output_type="pt", **options).images


def assert_same_images(left: torch.Tensor, right: torch.Tensor, other: torch.Tensor) -> None:
    """Equal up to float noise, and nearer to each other than either is to `other`.

    In another batch, float noise of the U-Net (1e-6) may change a near tie between two matches, and one pair of tokens
    merged differently changes an image by about 1e-4. Exact independence is tested on the plans.
    """
    difference = (left - right).abs()
    assert difference.mean() < 1e-4
    assert difference.mean() < 0.1 * (left - other).abs().mean()


def snapshot(model: torch.nn.Module) -> dict:
    """Class and `vars` of every module, containers copied, so that a change of either shows."""
    return {
        name: (
            type(module),
            {key: dict(value) if isinstance(value, dict) else value for key, value in vars(module).items()},
        )
        for name, module in model.named_modules()
    }
