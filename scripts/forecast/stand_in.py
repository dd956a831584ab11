"""Random weights for the dry run if a model's weights are not on this machine, provided that they fit into memory."""

import dataclasses
from pathlib import Path

import torch
from omegaconf import OmegaConf

from eval.devices import check_device
from eval.downloads.progress import readable
from eval.errors import RunError
from eval.generation.models.config import ModelConfig
from eval.generation.models.skeleton import denoiser_skeleton
from eval.generation.sampler import SamplerConfig
from eval.run.needs import local_model, model_is_here
from eval.run.row import Row
from scripts.command_line.entry import CONF
from scripts.jobs.row import build

OTHER_PARTS = 1.5  # size of a pipeline relative to its denoiser


class CannotMeasureError(RunError):
    """Nothing can be timed for a row; its missing requirements are reported separately."""


def model_to_time(row: Row) -> ModelConfig:
    """The row's model as available on this machine, or the one of `conf/model/<name>_random.yaml` in its place.

    CannotMeasureError: no device, no such file, or not enough memory.
    """
    try:
        check_device(row.sampler.device)
    except RunError as error:
        raise CannotMeasureError(f"there is no device {row.sampler.device} on this machine") from error
    if model_is_here(row.model):
        return local_model(row.model)
    choice = CONF / "model" / f"{row.model.name}_random.yaml"
    if not choice.is_file():
        raise CannotMeasureError(
            f"the weights of model {row.model.name} are not on this machine, and conf/model has no {choice.name}"
        )
    options = OmegaConf.to_container(OmegaConf.load(choice))
    options.pop("defaults", None)
    model = build("model", options)
    _check_memory(model, row.sampler)
    return dataclasses.replace(model, name=row.model.name)


def _check_memory(model: ModelConfig, sampler: SamplerConfig) -> None:
    weights = sum(value.numel() for value in denoiser_skeleton(model).parameters()) * sampler.torch_dtype.itemsize
    needed, free = int(weights * OTHER_PARTS), free_memory(sampler.device)
    if free is not None and needed > free:
        raise CannotMeasureError(
            f"random weights of model {model.name} need {readable(needed)} of memory in {sampler.dtype}, "
            f"{sampler.device} has {readable(free)} free"
        )


def free_memory(device: str) -> int | None:
    """Free bytes of the device's memory; None if the system does not report them."""
    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0]
    facts = Path("/proc/meminfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
