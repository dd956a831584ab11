"""Checkpoints of a stage: model, optimizer, moving average and step in one file, written atomically."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eval.atomic import replacing
from eval.errors import RunError


@dataclass(frozen=True)
class Checkpoint:
    """The state for an exact resume of a stage. Randomness is a function of the step (`randomness`)."""

    step: int
    settings: dict[str, Any]
    state: dict[str, Any]
    curve: list[dict[str, float]]


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` to `path`."""
    with replacing(path) as temporary:
        torch.save(vars(checkpoint), temporary)


def load(path: Path, settings: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint at `path`, or None if there is none.

    RunError if it is unreadable or has other `settings` (those that must be equal for an exact resume).
    """
    if not path.is_file():
        return None
    found = read(path)
    for key, value in settings.items():
        if found.settings.get(key) != value:
            raise RunError(
                f"{path} was trained with {key}={found.settings.get(key)!r}, this run has {value!r}; "
                "use the same value, another `out` folder, or remove the checkpoint"
            )
    return found


def read(path: Path) -> Checkpoint:
    """The checkpoint at `path`. RunError if there is none, or it cannot be read."""
    if not path.is_file():
        raise RunError(f"{path} does not exist; train the stage {path.stem} first")
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise RunError(f"{path} is not a checkpoint of this training ({error}); remove it to start again") from error


def restore(model: torch.nn.Module, path: Path) -> torch.nn.Module:
    """`model` with the weights of the checkpoint at `path`: the averaged ones if it has an average."""
    state = read(path).state
    model.load_state_dict(state["model"])
    if "ema" in state:
        with torch.no_grad():
            for parameter, averaged in zip(model.parameters(), state["ema"]["shadow_params"], strict=True):
                parameter.copy_(averaged)
    return model
