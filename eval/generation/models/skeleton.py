"""A model's denoiser without weights, built from its configuration alone, to check a run before loading anything."""

import diffusers
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from eval.errors import RunError
from eval.generation.models.architectures import UNETS
from eval.generation.models.config import ModelConfig
from eval.generation.models.diffusion_transformers import TRANSFORMERS
from eval.generation.models.folders import DENOISERS, config_folder, read_index, read_settings
from eval.generation.models.tiny import TINY_UNET


def denoiser_skeleton(model: ModelConfig) -> nn.Module:
    """The denoiser of `model` on the meta device: all modules, no memory. Downloads at most configurations.

    RunError if the configuration is not available or names a denoiser that the installed diffusers does not have.
    """
    kind, options = _class_and_options(model)
    with torch.device("meta"):
        return kind.from_config(options) if hasattr(options, "get") and "_class_name" in options else kind(**options)


def _class_and_options(model: ModelConfig) -> tuple[type[nn.Module], dict]:
    if model.kind == "tiny":
        return UNet2DConditionModel, TINY_UNET
    if model.kind == "random":
        known = TRANSFORMERS | {name: (UNet2DConditionModel, options) for name, options in UNETS.items()}
        return known[model.architecture]
    return _from_files(model)


def _from_files(model: ModelConfig) -> tuple[type[nn.Module], dict]:
    """Class and options from `model_index.json` and the denoiser's `config.json`, in a folder or a hub repository."""
    folder = config_folder(model)
    index = read_index(model, folder)
    name = next((name for name in DENOISERS if name in index), None)
    kind = getattr(diffusers, str(index[name][1]), None) if name else None
    if kind is None:
        raise RunError(
            f"model {model.name}: {model.path or model.repo} names no denoiser that diffusers {diffusers.__version__} "
            f"has{f' ({index[name][1]})' if name else ''}; update diffusers or choose another model"
        )
    return kind, read_settings(model, folder, f"{name}/config.json")
