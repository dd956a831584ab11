"""The model card of an export: what it is, how it was made, what it can do and not, and the hashes of its files."""

from pathlib import Path

import torch

from eval.downloads.digests import file_sha256
from eval.provenance import cpu, gpu
from eval.sampler import SamplerConfig
from training.export import files
from training.stages import STAGES, Training


def card(figures: dict, training: Training, sampler: SamplerConfig, folder: Path) -> str:
    """The card as Markdown."""
    return (
        "\n\n".join(
            [
                "# The tiny model",
                _what(training),
                "## Use\n\n" + _use(sampler),
                "## Held-out figures\n\n" + _held_out(figures, training),
                "## Training\n\n" + _training(figures, training),
                "## Data\n\n" + _data(training),
                "## Limits\n\n" + _limits(training),
                "## Files\n\n" + hashes(folder),
            ]
        )
        + "\n"
    )


def hashes(folder: Path) -> str:
    """sha256 and size of every file of the export but the card."""
    lines = ["| file | bytes | sha256 |", "|---|---:|---|"]
    for path in files(folder):
        name = path.relative_to(folder).as_posix()
        lines.append(f"| `{name}` | {path.stat().st_size} | `{file_sha256(path)}` |")
    return "\n".join(lines)


def _what(training: Training) -> str:
    return (
        f"Text to image at 64x64 for {len(training.val.classes)} ImageNet classes, in diffusers' and transformers' own "
        "classes and with Stable Diffusion's topology: `pipeline/` (U-Net with attention at 16x16, 8x8 and, in the "
        "middle, 4x4 tokens; `AutoencoderTiny` of factor 4; CLIP text tower), `classifier/` (a ResNet whose pooled "
        "features `fid_smoke` is measured in), `clip/` (both towers, for `clip_smoke`), and `reference.safetensors` "
        "(the classifier's features of the held-out pictures, with their mean and covariance). All in float16; "
        "networks take pictures [B, 3, 64, 64] in [-1, 1].\n\n![20 classes x 4](sheet.png)"
    )


def _use(sampler: SamplerConfig) -> str:
    return (
        f"`model=tiny`. It draws best with {sampler.scheduler}, {sampler.steps} steps, guidance {sampler.guidance:g}; "
        "the U-Net predicts velocities, which the saved scheduler's config says."
    )


def _held_out(figures: dict, training: Training) -> str:
    made, without = figures["generated"], figures["untrained"]
    lines = [
        "| figure | value |",
        "|---|---:|",
        f"| classifier, top-1 over {len(training.val.classes)} classes | {figures['classifier_top1']:.1%} |",
        f"| autoencoder, PSNR | {figures['autoencoder_psnr']:.2f} dB |",
        f"| its reconstructions, recognised by the classifier | {figures['autoencoder_recognised']:.1%} |",
        f"| CLIP, nearest prompt is the right one | {figures['clip_top1']:.1%} |",
        f"| generated images recognised as their class (n = {made['n']}) | {made['recognised']:.1%} |",
        f"| the same with an untrained U-Net | {without['recognised']:.1%} |",
        f"| `fid_smoke` of the generated images | {made['fid_smoke']:.3f} |",
        f"| the same with an untrained U-Net | {without['fid_smoke']:.3f} |",
        f"| the same of {figures['real']['n']} training pictures | {figures['real']['fid_smoke']:.3f} |",
    ]
    by_class = ", ".join(f"{name} {share:.0%}" for name, share in made["by_class"].items())
    intro = (
        f"On the {len(training.val)} pictures of the val split, which no stage learned from, by the files as shipped "
        "in float32. Generated: the harness's prompts and seeds (seed 0)."
    )
    return f"{intro}\n\n" + "\n".join(lines) + f"\n\nRecognised by class: {by_class}."


def _training(figures: dict, training: Training) -> str:
    config = training.config
    lines = ["| stage | steps | batch | learning rate | hours |", "|---|---:|---:|---:|---:|"]
    for stage in STAGES:
        loop = getattr(config, stage)
        hours = figures["seconds"][stage] / 3600
        lines.append(f"| {stage} | {figures['steps'][stage]} | {loop.batch} | {loop.lr:g} | {hours:.2f} |")
    return (
        f"`make train-tiny` (`python -m scripts.train_tiny`; conf/train_tiny.yaml has every value), seed "
        f"{config.seed}, {config.dtype} matrix products, on {_hardware(training)}. "
        "Hours are of the wall clock, and with other work beside they say little.\n\n" + "\n".join(lines)
    )


def _hardware(training: Training) -> str:
    if training.config.device == "cuda":
        return gpu(training.setting.device)["name"]
    threads = torch.get_num_threads()
    return f"{threads} core{'s' * (threads > 1)} of {cpu()['model']}"


def _data(training: Training) -> str:
    return (
        f"{len(training.train)} pictures to learn from and {len(training.val)} held out, of the ImageNet classes "
        + ", ".join(f"{chosen.name} ({chosen.wnid})" for chosen in training.val.classes)
        + f". sha256 over the held-out files' bytes: `{training.val.hash}`. ImageNet's pictures are for "
        "non-commercial research; none is shipped, and what was made of them should be used likewise."
    )


def _limits(training: Training) -> str:
    classes = len(training.val.classes)
    return (
        f"It is a measuring stick, not an artist. It knows {classes} classes under one template of prompts at 64x64 "
        "pixels; other words, sizes and subjects give nothing of worth. It learned from some "
        f"{len(training.train) // classes} pictures a class, so its own may come near single ones. Its distances and "
        "scores are those of small networks: they compare methods on this model and are no FID or CLIP score. The "
        "classifier that judges the generated images learned from the same pictures as the denoiser, and textures "
        "convince it where a person sees no animal: it flatters. Nothing that matters should be decided with it."
    )
