"""Loads a diffusers pipeline from a model's configuration, ready to sample, and identifies its weights."""

import hashlib
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError

from eval.devices import check_device
from eval.downloads.digests import file_sha256
from eval.downloads.hub import check_digest, check_files
from eval.generation.calls import configure, denoiser
from eval.generation.models.config import ModelConfig
from eval.generation.models.folders import DENOISERS, local_folder, not_loaded, read_index
from eval.generation.models.hub_files import SETTINGS, denoiser_configs, pipeline_folder, repository
from eval.generation.models.random_pipelines import random_pipeline
from eval.generation.models.tiny import tiny_pipeline
from eval.generation.sampler import SamplerConfig
from eval.silence import silent_loading


def load_pipeline(model: ModelConfig, sampler: SamplerConfig) -> DiffusionPipeline:
    """The pipeline of `model` on the sampler's device and dtype, with its scheduler, attention and compilation.

    The safety checker and progress bars are off. RunError if weights or device are not available, ValueError if the
    model does not support the sampler's size, scheduler or attention.
    """
    check_device(sampler.device)
    if model.kind == "tiny":
        pipe = tiny_pipeline(model.seed)
        for part in _networks(pipe).values():
            torch.nn.Module.to(part, sampler.torch_dtype)
    elif model.kind == "random":
        pipe = random_pipeline(model.architecture, sampler.torch_dtype, model.seed)
    else:
        local = local_folder(model)
        read_index(model, local or denoiser_configs(repository(model), DENOISERS))
        folder = local or pipeline_folder(repository(model), model.variant)
        pipe = _from_folder(model, folder, sampler.torch_dtype)
    pipe = pipe.to(sampler.device)
    configure(pipe, sampler)
    return pipe


def pipe_identity(pipe: DiffusionPipeline) -> dict:
    """The pipeline's classes, revision and sha256 of the weights, for a run's provenance.

    `weights`: for a pipeline read from a folder, sha256 by file, of weights and configuration files; for one built in
    code, by component (over the parameters' bytes). `revision`: the commit of a hub snapshot, otherwise None.
    RunError: a file of the hub's cache is damaged, and which one to delete.
    """
    folder = Path(pipe.config.get("_name_or_path") or "")
    from_folder = (folder / "model_index.json").is_file()
    weights = _file_hashes(folder, pipe) if from_folder else _parameter_hashes(pipe)
    processors = getattr(denoiser(pipe), "attn_processors", {})
    return {
        "pipeline": type(pipe).__name__,
        "components": {name: type(part).__name__ for name, part in pipe.components.items() if part is not None},
        "attention_processors": sorted({type(processor).__name__ for processor in processors.values()}),
        "revision": folder.name if from_folder and folder.parent.name == "snapshots" else None,
        "weights_of": "files" if from_folder else "parameters",
        "weights": weights,
    }


def _from_folder(model: ModelConfig, folder: Path, dtype: torch.dtype) -> DiffusionPipeline:
    known = DiffusionPipeline.load_config(str(folder))
    off = {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}
    extra = off if "safety_checker" in known else {}
    try:
        with silent_loading():
            return DiffusionPipeline.from_pretrained(
                str(folder),
                dtype=dtype,
                variant=model.variant,
                use_safetensors=True,
                local_files_only=True,
                **extra,
            )
    except (OSError, SafetensorError, ValueError) as error:
        check_files(path for path in folder.rglob("*") if path.is_file())
        if isinstance(error, ValueError):
            raise
        raise not_loaded(model, folder, error) from error


def _networks(pipe: DiffusionPipeline) -> dict[str, torch.nn.Module]:
    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


def _file_hashes(folder: Path, pipe: DiffusionPipeline) -> dict[str, str]:
    """Of all files that affect pixels: weights, and configurations of components, tokenizers and schedulers."""
    weights = [file for name in _networks(pipe) for file in (folder / name).glob("*.safetensors")]
    settings = [file for name in pipe.components for file in (folder / name).glob("*") if file.suffix in SETTINGS]
    files = sorted({*weights, *settings, folder / "model_index.json"})
    found = {file: file_sha256(file) for file in files}
    for file, digest in found.items():
        check_digest(file, digest)
    return {file.relative_to(folder).as_posix(): digest for file, digest in found.items()}


def _parameter_hashes(pipe: DiffusionPipeline) -> dict[str, str]:
    return {name: _state_hash(part) for name, part in _networks(pipe).items()}


def _state_hash(part: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(part.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # bfloat16 has no numpy type, but its bytes do
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
