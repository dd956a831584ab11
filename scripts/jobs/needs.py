"""What a row needs that is not on this machine yet: device, weights, reference pictures. Nothing is fetched."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from eval.devices import check_device
from eval.errors import RunError
from eval.metrics import check_reference
from eval.networks.weights import HubFile, WeightFile, weights_folder
from eval.pipelines import ModelConfig
from eval.reference import load_reference
from scripts.jobs.row import Row
from scripts.jobs.session import Session


def missing(row: Row, session: Session, cache: Path) -> list[str]:
    """A sentence for everything that the row lacks beside its model. cache: where a reference may be unpacked to."""
    found = []
    for check in (_device, _networks, lambda row: _reference(row, session, cache)):
        found += _told(check, row)
    return found


def local_model(model: ModelConfig) -> ModelConfig:
    """`model` as it lies on this machine. RunError when its weights would have to be fetched first."""
    if model.kind != "hub" or model.path:
        return model
    options = {"variant": model.variant, "use_safetensors": True, "safety_checker": None}
    try:
        folder = DiffusionPipeline.download(model.repo, revision=model.revision, local_files_only=True, **options)
    except OSError as error:
        raise RunError(
            f"the weights of model {model.name} are not on this machine: the run fetches {model.repo} at revision "
            f"{model.revision} from the model hub, or give a copy with model.path=FOLDER"
        ) from error
    return dataclasses.replace(model, path=str(folder), variant=model.variant)


def weight_files(value: Any) -> Iterator[WeightFile | HubFile]:
    """Every weight file that a configuration object names, however deep."""
    if isinstance(value, WeightFile | HubFile):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from weight_files(getattr(value, field.name))


def is_here(file: WeightFile | HubFile) -> bool:
    """Whether a weight file is on this machine, unchecked: its hash is compared when it is used."""
    if file.path is not None:
        return Path(file.path).expanduser().is_file()
    if isinstance(file, WeightFile):
        return (weights_folder() / file.name).is_file()
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(file.repo, file.filename, revision=file.revision), str)


def _device(row: Row) -> None:
    check_device(row.sampler.device)


def _networks(row: Row) -> list[str]:
    files = list(dict.fromkeys(weight_files(row.metrics)))
    if not files:
        row.metrics.preflight()  # the networks that need no file, or ship with this project
    return [_absent(file) for file in files if not is_here(file)]


def _absent(file: WeightFile | HubFile) -> str:
    if file.path is not None:
        return f"the weights {file.path} that are given for a metric are not there"
    if isinstance(file, HubFile):
        return f"the weights {file.filename} of {file.repo} are not on this machine: the run fetches them from the hub"
    return f"the weights {weights_folder() / file.name} are not there: the run fetches them from {file.url}"


def _reference(row: Row, session: Session, cache: Path) -> list[str]:
    if row.metrics.profile == "none":
        return []
    if row.reference.kind == "hub" and not _hub_reference_is_here(row.reference.repo):
        return [f"the reference {row.reference.repo} is not on this machine: the run fetches it from the hub"]
    reference = session.reference(row.reference, row.prompts.selected(), cache, load_reference)
    check_reference(reference, row.metrics)
    return []


def _hub_reference_is_here(repo: str) -> bool:
    from datasets import config

    return any(Path(config.HF_DATASETS_CACHE).glob(f"{repo.replace('/', '___')}*"))


def _told(check: Callable[[Row], list[str] | None], row: Row) -> list[str]:
    try:
        return check(row) or []
    except (RunError, ValueError) as error:
        return [str(error)]
