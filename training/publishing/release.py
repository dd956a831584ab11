"""A release: the export with scores computed from its files as users load them, a sheet and a model card."""

import shutil
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from transformers import CLIPModel, ResNetForImageClassification

from eval.atomic import write_json, write_text
from eval.generation.sampler import SamplerConfig
from training import evaluate
from training.choices import STAGES
from training.networks.denoiser import SCHEDULE
from training.publishing import export
from training.publishing.card import card
from training.publishing.sheet import write_sheet
from training.stages import Training

SHEET_COLUMNS = 4


def release(training: Training, sampler: SamplerConfig, per_class: int) -> Path:
    """Write `out`/export: the shipped files, figures.json, sheet.png, README.md; returns that folder."""
    folder = Path(training.config.out) / "export.partial"
    shutil.rmtree(folder, ignore_errors=True)
    _export(training, sampler, folder)
    pipe, classifier, clip = load(folder)
    reference, _ = evaluate.reference_moments(classifier, training.val)
    figures = evaluate.held_out(classifier, clip, pipe.tokenizer, pipe.vae, training.val) | _effort(training)
    images, labels = evaluate.draw(pipe, training.val, per_class, sampler)
    figures["generated"] = evaluate.score(images, labels, classifier, reference, training.val)
    pipe.unet = training.build("denoiser").eval()
    without = evaluate.score(
        *evaluate.draw(pipe, training.val, per_class, sampler), classifier, reference, training.val
    )
    real = evaluate.first(training.train, per_class)
    figures["real"] = {"n": len(real), "fid_smoke": evaluate.distance(real, classifier, reference)}
    figures["untrained"] = {key: without[key] for key in ("n", "recognised", "fid_smoke")}
    _describe(training, figures, images, sampler, folder)
    shutil.rmtree(folder.with_suffix(""), ignore_errors=True)
    return folder.rename(folder.with_suffix(""))


def load(folder: Path) -> tuple[StableDiffusionPipeline, ResNetForImageClassification, CLIPModel]:
    """Pipeline, classifier and CLIP of an export, in float32 on the CPU."""
    pipe = StableDiffusionPipeline.from_pretrained(folder / "pipeline", dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    classifier = ResNetForImageClassification.from_pretrained(folder / "classifier", dtype=torch.float32)
    return pipe, classifier.eval(), CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32).eval()


def _export(training: Training, sampler: SamplerConfig, folder: Path) -> None:
    clip, unet, vae = (training.trained(stage) for stage in ("clip", "denoiser", "autoencoder"))
    scheduler = getattr(diffusers, sampler.scheduler).from_config(DDIMScheduler(**SCHEDULE).config)
    pipe = export.pipeline(unet, vae, clip, training.tokenizer, scheduler)
    export.export(pipe, training.trained("classifier"), clip, training.val, folder)


def _effort(training: Training) -> dict:
    done = {stage: training.steps(stage) for stage in STAGES}
    return {
        "steps": {stage: steps for stage, (steps, _) in done.items()},
        "seconds": {stage: round(seconds) for stage, (_, seconds) in done.items()},
    }


def _describe(training: Training, figures: dict, images: torch.Tensor, sampler: SamplerConfig, folder: Path) -> None:
    names = [chosen.name for chosen in training.val.classes]
    first = images.unflatten(0, (len(names), -1))[:, :SHEET_COLUMNS].flatten(0, 1)
    write_sheet(first, names, folder / "sheet.png")
    write_json(folder.parent / "figures.json", figures)
    write_text(folder / "README.md", card(figures, training, sampler, folder))
