"""Loads a diffusers pipeline from a model's configuration, ready to sample, and identifies its weights."""

import dataclasses
import hashlib
import json
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError

from eval.assets import ASSETS, RESTORE, folder_sha256
from eval.devices import check_device
from eval.downloads.digests import file_sha256
from eval.downloads.hub import check_digest, check_files
from eval.errors import RunError, first_line
from eval.generation.models.hub_files import SETTINGS, denoiser_configs, pipeline_folder, repository
from eval.generation.models.random_pipelines import PIPELINES, random_pipeline
from eval.generation.models.text_to_image import check_text_to_image
from eval.generation.models.tiny import tiny_pipeline
from eval.generation.sampler import SamplerConfig, configure, denoiser
from eval.silence import silent_loading

DENOISERS = ("unet", "transformer")
KINDS = ("hub", "shipped", "random", "tiny")
ARCHITECTURES = tuple(PIPELINES)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Source of a pipeline.

    kind "hub": `repo` at `revision` from the Hugging Face hub, or the local folder `path` in its place (written by
    `save_pretrained`, or a hub snapshot); safetensors only. `variant`: such as "fp16".
    kind "shipped": the folder `path` in eval/assets; `revision` is the sha256 over its files (`folder_sha256`), so
    that the weights are part of a run's name.
    kind "random": `architecture` ("sd15" | "sd21" | "sdxl" | "pixart" | "sd3" | "sd35_medium" | "sd35_large" | "flux")
    at full size (except T5, see `eval.generation.models.random_pipelines`), random weights from `seed`, no download.
    kind "tiny": the embedded 64 px pipeline, random weights from `seed`.
    """

    name: str
    kind: str = "hub"
    repo: str | None = None
    revision: str | None = None
    path: str | None = None
    variant: str | None = None
    architecture: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"model.name must be a text, got {self.name!r}")
        if self.kind not in KINDS:
            raise ValueError(f"model.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.kind == "hub" and not self.path and not (self.repo and self.revision):
            raise ValueError(
                f"model {self.name!r} of kind hub needs repo and revision, or path, "
                f"got repo={self.repo!r}, revision={self.revision!r}"
            )
        if self.kind == "shipped" and not (self.path and self.revision):
            raise ValueError(
                f"model {self.name!r} of kind shipped needs path and revision, got path={self.path!r}, "
                f"revision={self.revision!r}"
            )
        if self.kind == "random" and self.architecture not in ARCHITECTURES:
            raise ValueError(f"model.architecture must be one of {', '.join(ARCHITECTURES)}, got {self.architecture!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise ValueError(f"model.seed must be an integer in [0, 2**32), got {self.seed!r}")


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


def local_folder(model: ModelConfig) -> Path | None:
    """The local folder of `model`, or None if it comes from the hub. RunError: it is not a pipeline folder."""
    if model.kind == "shipped":
        return _shipped_folder(model)
    if not model.path:
        return None
    folder = Path(model.path).expanduser()
    if not (folder / "model_index.json").is_file():
        raise RunError(
            f"model {model.name}: {folder} is not a diffusers pipeline folder (no model_index.json in it); "
            "set model.path=FOLDER to one written by save_pretrained or downloaded from the hub"
        )
    return folder


def config_folder(model: ModelConfig) -> Path:
    """The folder with the configurations of `model`: its own, or a hub snapshot with at least those files."""
    return local_folder(model) or denoiser_configs(repository(model), DENOISERS)


def read_index(model: ModelConfig, folder: Path) -> dict:
    """`model_index.json` in `folder`, the model's configurations.

    RunError if it cannot be read or names no text-to-image pipeline (`models.text_to_image`). Reads no weights.
    """
    index = read_settings(model, folder, "model_index.json")
    name = next((name for name in DENOISERS if name in index), "")
    where = f"model {model.name}: {model.path or model.repo}"
    check_text_to_image(index, where, lambda: read_settings(model, folder, f"{name}/config.json"))
    return index


def read_settings(model: ModelConfig, folder: Path, file: str) -> dict:
    """A JSON file in `folder`, the model's configurations. RunError if it cannot be read."""
    try:
        return json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        check_files([folder / file])
        raise _not_loaded(model, folder, error) from error


def _shipped_folder(model: ModelConfig) -> Path:
    folder = ASSETS / model.path
    found = folder_sha256(folder)
    if found != model.revision:
        differs = f"its files have sha256 {found[:12]}, expected {model.revision[:12]}"
        raise RunError(
            f"model {model.name}: {folder} is not what this version ships "
            f"({differs if folder.is_dir() else 'it does not exist'}); {RESTORE}; for your own pipeline set "
            "model.kind=hub model.path=FOLDER"
        )
    return folder


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
        raise _not_loaded(model, folder, error) from error


def _not_loaded(model: ModelConfig, folder: Path, error: Exception) -> RunError:
    return RunError(
        f"model {model.name}: {folder} cannot be loaded ({_cause(error)}); it must contain every component of "
        "the pipeline with weights as safetensors"
    )


def _networks(pipe: DiffusionPipeline) -> dict[str, torch.nn.Module]:
    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


def _cause(error: BaseException) -> str:
    """The reason in one line. diffusers surrounds the cause that a user can act on with a page of advice."""
    return first_line(error.__cause__ or error).rstrip(".")


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
