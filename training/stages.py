"""The stages of the tiny model in order, and their dependencies."""

import json
from functools import cached_property
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderTiny
from transformers import CLIPModel, CLIPTokenizer

from eval.atomic import write_json
from eval.downloads.digests import file_sha256
from eval.errors import RunError
from training import checkpoint
from training.choices import PRECISIONS, TrainingConfig
from training.data import LabelledImages, load_images
from training.loop import Setting
from training.networks import autoencoder, classifier, clip, denoiser


class Training:
    """One training: its images, read once, and its stages, each trained or resumed from its checkpoint."""

    def __init__(self, config: TrainingConfig) -> None:
        """RunError if the device is not available."""
        if config.device == "cuda" and not torch.cuda.is_available():
            raise RunError("device=cuda was requested but torch finds no CUDA device; use device=cpu")
        self.config = config
        accelerator = Accelerator(cpu=config.device == "cpu", mixed_precision=PRECISIONS[config.dtype])
        self.setting = Setting(Path(config.out), config.seed, accelerator)

    @cached_property
    def train(self) -> LabelledImages:
        """The training images."""
        return load_images(self.config.data, "train")

    @cached_property
    def val(self) -> LabelledImages:
        """The held-out images."""
        return load_images(self.config.data, "val")

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """The prompts' tokenizer."""
        return clip.tokenizer()

    def run(self, stage: str) -> torch.nn.Module:
        """Train `stage` to its last step. RunError if a stage it depends on has no checkpoint."""
        model, config = self.build(stage), getattr(self.config, stage)
        if stage == "classifier":
            return classifier.train(model, self.train, self.val, config, self.setting)
        if stage == "autoencoder":
            return autoencoder.train(model, self.train, self.val, config, self.setting)
        if stage == "clip":
            return clip.train(model, self.tokenizer, self.train, self.val, config, self.setting)
        return denoiser.train(model, self._cached(), config, self.setting)

    def build(self, stage: str) -> torch.nn.Module:
        """The model of `stage` with initial weights from the seed. The global random state is unchanged."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            if stage == "classifier":
                return classifier.build(self.train)
            if stage == "autoencoder":
                return autoencoder.build()
            if stage == "clip":
                return clip.build(self.tokenizer)
            return denoiser.build(autoencoder.CHANNELS, clip.TEXT["hidden_size"])

    def trained(self, stage: str) -> torch.nn.Module:
        """The model of `stage` from its checkpoint (averaged if it has an average), finished or not."""
        model = checkpoint.restore(self.build(stage), self.setting.out / f"{stage}.pt").to(self.setting.device).eval()
        if stage == "autoencoder":
            model.register_to_config(scaling_factor=self._scale(model))
        return model

    def steps(self, stage: str) -> tuple[int, float]:
        """Steps done, and their duration in seconds."""
        found = checkpoint.read(self.setting.out / f"{stage}.pt")
        return found.step, found.state["seconds"]

    def _scale(self, vae: AutoencoderTiny) -> float:
        """The latents' scaling factor, computed once per autoencoder: it takes a pass over all images."""
        path, digest = self.setting.out / "scale.json", file_sha256(self.setting.out / "autoencoder.pt")
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if known.get("autoencoder") != digest:
            known = {"autoencoder": digest, "scaling_factor": autoencoder.latent_scale(vae, self.train)}
            write_json(path, known)
        return known["scaling_factor"]

    def _cached(self) -> denoiser.Cached:
        vae: AutoencoderTiny = self.trained("autoencoder")
        model: CLIPModel = self.trained("clip")
        return denoiser.cache(vae, model.text_model, self.tokenizer, self.train)
