"""The model card of an export: what it is, how it was made, what it can do and not, and the hashes of its files."""

from pathlib import Path

import torch

from eval.downloads.digests import file_sha256
from eval.generation.sampler import SamplerConfig
from eval.provenance import cpu, gpu
from training.choices import STAGES
from training.publishing.export import files
from training.stages import Training


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
        f"A text-to-image model at 64x64 for {len(training.val.classes)} ImageNet classes, in diffusers' and "
        "transformers' own classes and with Stable Diffusion's topology:\n\n"
        "- `pipeline/`: a U-Net with attention at 16x16, 8x8 and, in the middle, 4x4 tokens; `AutoencoderTiny` of "
        "factor 4; a CLIP text encoder.\n"
        "- `classifier/`: a ResNet; `fid_smoke` is measured in its pooled features.\n"
        "- `clip/`: image and text encoder, for `clip_smoke`.\n"
        "- `reference.safetensors`: the classifier's features of the held-out images, with their mean and covariance."
        "\n\nAll weights are float16. Networks take images [B, 3, 64, 64] in [-1, 1].\n\n![20 classes x 4](sheet.png)"
    )


def _use(sampler: SamplerConfig) -> str:
    return (
        f"`model=tiny`. Best sampled with {sampler.scheduler}, {sampler.steps} steps, guidance {sampler.guidance:g}. "
        "The U-Net predicts velocities, as the saved scheduler's config states."
    )


def _held_out(figures: dict, training: Training) -> str:
    made, without = figures["generated"], figures["untrained"]
    lines = [
        "| figure | value |",
        "|---|---:|",
        f"| classifier, top-1 over {len(training.val.classes)} classes | {figures['classifier_top1']:.1%} |",
        f"| autoencoder, PSNR | {figures['autoencoder_psnr']:.2f} dB |",
        f"| autoencoder, reconstructions recognised by the classifier | {figures['autoencoder_recognised']:.1%} |",
        f"| CLIP, nearest prompt is the right one | {figures['clip_top1']:.1%} |",
        f"| generated images recognised as their class (n = {made['n']}) | {made['recognised']:.1%} |",
        f"| the same with an untrained U-Net | {without['recognised']:.1%} |",
        f"| `fid_smoke` of the generated images | {made['fid_smoke']:.3f} |",
        f"| the same with an untrained U-Net | {without['fid_smoke']:.3f} |",
        f"| the same of {figures['real']['n']} training images | {figures['real']['fid_smoke']:.3f} |",
    ]
    by_class = ", ".join(f"{name} {share:.0%}" for name, share in made["by_class"].items())
    intro = (
        f"Measured on the {len(training.val)} images of the val split, which no stage was trained on, with the shipped "
        "files in float32. Generated images use the harness's prompts and seeds (seed 0)."
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
        "Hours are wall-clock time, with other work on the machine.\n\n" + "\n".join(lines)
    )


def _hardware(training: Training) -> str:
    if training.config.device == "cuda":
        return gpu(training.setting.device)["name"]
    threads = torch.get_num_threads()
    return f"{threads} core{'s' * (threads > 1)} of {cpu()['model']}"


def _data(training: Training) -> str:
    return (
        f"{len(training.train)} training images and {len(training.val)} held-out images of the ImageNet classes "
        + ", ".join(f"{chosen.name} ({chosen.wnid})" for chosen in training.val.classes)
        + f". sha256 over the held-out files' bytes: `{training.val.hash}`. ImageNet's images are for "
        "non-commercial research. None is shipped; use the models trained on them in the same way."
    )


def _limits(training: Training) -> str:
    classes = len(training.val.classes)
    return (
        "This model is for measuring, not for making images.\n\n"
        f"- It knows {classes} classes under one prompt template at 64x64 pixels. Other words, sizes and subjects give "
        "nothing useful.\n"
        f"- It was trained on about {len(training.train) // classes} images per class, so a generated image may be "
        "close to a training image.\n"
        "- Its distances and scores come from small networks. They compare methods on this model and are not FID or "
        "CLIP score.\n"
        "- The classifier that judges the generated images was trained on the same images as the denoiser, and "
        "textures convince it where a person sees no animal. The rates it gives are optimistic.\n"
        "- Base no decision that matters on it."
    )
