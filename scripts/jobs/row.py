"""From a composed configuration to the checked objects of one row."""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import MISSING, DictConfig, OmegaConf

from eval.errors import RunError
from eval.generation.prompts import imagenet_classes
from eval.generation.sampler import SamplerConfig
from eval.records.canonical import flat_options
from eval.records.targets import current_targets, recorded_targets
from eval.reference import ReferenceConfig
from eval.run.row import CACHE, Row
from scripts.command_line.trust import check_targets
from scripts.jobs.measured import with_measured_share

# In this order, so that a mistake in the others is told before a method or metric has imported torch.
BUILT = ("model", "sampler", "reference", "timing", "bootstrap", "shard", "prompts", "metrics", "method")
NOT_OF_A_RUN = ("shard", "claims")  # of the job, and of what is judged once runs are finished
ON_DISK = "on_disk"


def read_row(composed: DictConfig, choices: dict[str, str]) -> Row:
    """Build all objects of a row; `choices` is Hydra's choice of each group. ValueError, RunError: a bad value."""
    config = resolve(composed)
    if "method" not in choices:  # Hydra composes a list of choices into one and names none of them
        raise RunError(
            "method must be one choice, such as method=retom; several are a sweep, such as --multirun method=none,retom"
        )
    return Row(
        name=choices["method"],
        runs=config["runs"],
        results=Path(config["results"]),
        config={key: value for key, value in config.items() if key not in NOT_OF_A_RUN},
        **{key: build(key, config[key], config["trusted"]) for key in BUILT},
    )


def resolve(composed: DictConfig) -> dict:
    """The composed configuration as plain data, with every class under its name in records.

    prompts.classes=on_disk is replaced by the reference's classes, and the share of `fewer_steps` by the measured one.
    """
    config = recorded_targets(OmegaConf.to_container(composed, resolve=True))
    for group in (*BUILT, "backend"):
        if not isinstance(config.get(group), dict):
            raise RunError(f"the configuration has no {group}, got {config.get(group)!r}; choose one with {group}=NAME")
    absent = [key for key in ("runs", "results", "trusted") if key not in config]
    if absent:
        raise RunError(f"the configuration has no {absent[0]}, which conf/config.yaml sets; do not remove it")
    config["metrics"] = _with_extra(config["metrics"])
    _require_values(config)
    config["method"] = with_measured_share(config)
    if config["prompts"].get("classes") == ON_DISK:
        reference = build("reference", config["reference"], config["trusted"])
        config["prompts"]["classes"] = _classes_on_disk(reference, Path(config["results"]))
    if isinstance(config["prompts"].get("classes"), list):  # sorted in ImageNet's order, however they are given
        config["prompts"]["classes"] = sorted(config["prompts"]["classes"], key=str)
    return config


def _with_extra(metrics: dict) -> dict:
    """The options of the metrics with those of installed ones in full; without `extra` where it adds none."""
    own = {key: value for key, value in metrics.items() if key != "extra"}
    if not metrics.get("extra"):
        return own
    from scripts.command_line.installed import extra_metrics

    return {**own, "extra": recorded_targets(extra_metrics(metrics["extra"]))}


def _require_values(config: dict) -> None:
    """RunError for an option that has no default and was not given."""
    given = flat_options({group: config[group] for group in BUILT})
    absent = [key for key, value in given.items() if value == MISSING]
    if absent:
        raise RunError(f"{absent[0]} has no default; set {absent[0]}=VALUE")


def device_of(composed: DictConfig) -> str:
    """The sampler's device in a composed configuration, or the default of `SamplerConfig`."""
    return str(OmegaConf.select(composed, "sampler.device", default=SamplerConfig.device))


def build(group: str, options: dict, trusted: Sequence[str] = ()) -> Any:
    """The object of one group's choice, of a class of this project or of a `trusted` package.

    ValueError for a key that its class does not have, with the nearest one; RunError, before anything is imported, for
    a class of another package.
    """
    if not isinstance(options, dict) or "_target_" not in options:
        raise ValueError(f"{group} has no _target_; set it to the class that this choice builds")
    options = current_targets(options)
    for where, own, target in check_targets(group, options, trusted):
        _check_options(where, own, target)
    try:
        return hydra.utils.instantiate(options, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | RunError):
            message = str(error.__cause__)
            raise type(error.__cause__)(message if group in message else f"{group}: {message}") from error
        raise


def _check_options(where: str, own: dict, target: type) -> None:
    """ValueError for an option that the class `target` does not have, with the nearest one, or that it lacks."""
    fields = [field for field in dataclasses.fields(target) if field.init]
    known = [field.name for field in fields]
    for key in own:
        if key != "_target_" and key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            hint = f", the nearest is {where}.{nearest[0]}" if nearest else f"; {target.__name__} has no options"
            raise ValueError(f"unknown key {where}.{key}{hint}")
    absent = [field.name for field in fields if not _has_default(field) and field.name not in own]
    if absent:
        raise ValueError(f"{where} has no {absent[0]}, which has no default; set {where}.{absent[0]}=VALUE")


def _has_default(field: dataclasses.Field) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _classes_on_disk(reference: ReferenceConfig, results: Path) -> list[str] | None:
    """The wnids for which the reference has enough images; None for all 1,000, as in the shipped choice."""

    known = imagenet_classes()
    from eval.reference.loading import held_classes  # imports torch

    held = held_classes(reference, known, results / CACHE)
    if not held:
        raise RunError(
            f"prompts.classes={ON_DISK}: the reference {reference.path or reference.kind} has no ImageNet class with "
            f"{reference.per_class} images; check reference.path or lower reference.per_class"
        )
    return None if len(held) == len(known) else [item.wnid for item in held]
