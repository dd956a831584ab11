"""The folder of a model and the configurations in it, read without loading weights."""

import json
from pathlib import Path

from eval.assets import ASSETS, RESTORE, folder_sha256
from eval.downloads.hub import check_files
from eval.errors import RunError, first_line
from eval.generation.models.config import ModelConfig
from eval.generation.models.hub_files import denoiser_configs, repository
from eval.generation.models.text_to_image import check_text_to_image

DENOISERS = ("unet", "transformer")


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
        raise not_loaded(model, folder, error) from error


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


def not_loaded(model: ModelConfig, folder: Path, error: Exception) -> RunError:
    """The error about a pipeline in `folder` that cannot be read, with the cause."""
    return RunError(
        f"model {model.name}: {folder} cannot be loaded ({_cause(error)}); it must contain every component of "
        "the pipeline with weights as safetensors"
    )


def _cause(error: BaseException) -> str:
    """The reason in one line. diffusers surrounds the cause that a user can act on with a page of advice."""
    return first_line(error.__cause__ or error).rstrip(".")
