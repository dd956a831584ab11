"""The embedded tiny pipeline: the real Stable Diffusion classes and topology, small enough for CPU tests.

Images of 64 px, latents of 32x32, 16 transformer blocks at token grids 32x32, 16x16, 8x8 and 4x4 (middle), where SD 1.5
has 64x64, 32x32, 16x16 and 8x8. Weights are random: the images are noise, the code path is the real one.
"""

import gzip
import importlib.util
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TINY_MERGES = 2048  # enough for every prompt of the default template to fit in 77 tokens
CLIP_MERGES = 49152 - 256 - 2  # of the full CLIP vocabulary: 49,408 tokens
CLIP_LENGTH = 77

TINY_UNET = {
    "sample_size": 32,
    "block_out_channels": (32, 32, 64, 64),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 32,
    "attention_head_dim": 2,  # the number of heads, as in SD 1.5's config
    "norm_num_groups": 16,
}
TINY_VAE = {
    "block_out_channels": (16, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": 64,
}
TINY_TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SD_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def tiny_pipeline(seed: int = 0) -> StableDiffusionPipeline:
    """A `StableDiffusionPipeline` with random weights from `seed`: evaluation mode, fp32, CPU, no progress bar.

    The global random state is unchanged.
    """
    tokenizer = clip_tokenizer(TINY_MERGES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = {
            "unet": UNet2DConditionModel(**TINY_UNET),
            "vae": AutoencoderKL(**TINY_VAE),
            "text_encoder": CLIPTextModel(text_config(tokenizer, **TINY_TEXT)),
        }
    return assemble(StableDiffusionPipeline, tokenizer=tokenizer, **parts)


def assemble(pipeline_class: type, **parts: object):
    """Assemble a Stable Diffusion pipeline without a safety checker; the default scheduler is SD's PNDM."""
    if pipeline_class is StableDiffusionPipeline:
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe = pipeline_class(**({"scheduler": PNDMScheduler(**SD_SCHEDULER)} | parts))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def text_config(tokenizer: CLIPTokenizer, **sizes: object) -> CLIPTextConfig:
    """A CLIP text configuration with the vocabulary and special tokens of `tokenizer`."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CLIP_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )


def clip_tokenizer(merges: int = CLIP_MERGES, pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer with the first `merges` merges of the list that open_clip ships.

    With all merges its ids equal the SD tokenizer's. SD pads with the end token, SDXL's second tokenizer with "!".
    """
    pairs = [tuple(line.split()) for line in _merge_lines()[:merges]]
    symbols = _byte_symbols()
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in pairs)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, pad_token=pad_token, model_max_length=CLIP_LENGTH)


def _merge_lines() -> list[str]:
    # find_spec finds the package's folder without importing it
    package = Path(importlib.util.find_spec("open_clip").origin).parent
    with gzip.open(package / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
        return file.read().split("\n")[1 : CLIP_MERGES + 1]


def _byte_symbols() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in CLIP's order: printable ones first, then the rest."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = range(256 - len(printable))
    return [chr(code) for code in printable] + [chr(256 + offset) for offset in others]
