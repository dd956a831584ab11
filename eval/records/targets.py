"""The names of configured classes in records.

A record and its hashes store a class under the name that it had when it was first published. Classes that have moved
since are listed here, so that hashes, protocols and finished runs stay the same, and records of before can be rebuilt.
"""

from collections.abc import Mapping
from typing import Any

OURS = ("retom", "baselines", "eval")  # packages of this project that a configuration may name
# from the name in records to where the class is defined
MOVED = {
    "eval.metrics.NoMetrics": "eval.metrics.profiles.NoMetrics",
    "eval.metrics.RealMetrics": "eval.metrics.profiles.RealMetrics",
    "eval.metrics.SmokeMetrics": "eval.metrics.profiles.SmokeMetrics",
    "eval.networks.tiny.TinyClip": "eval.metrics.networks.tiny.TinyClip",
    "eval.networks.tiny.TinyFeatures": "eval.metrics.networks.tiny.TinyFeatures",
    "eval.networks.weights.HubFile": "eval.downloads.weights.HubFile",
    "eval.networks.weights.WeightFile": "eval.downloads.weights.WeightFile",
    "eval.pipelines.ModelConfig": "eval.generation.models.config.ModelConfig",
    "eval.prompts.PromptSet": "eval.generation.prompts.PromptSet",
    "eval.sampler.SamplerConfig": "eval.generation.sampler.SamplerConfig",
    "eval.shards.Shard": "eval.generation.shards.Shard",
    "eval.stats.Bootstrap": "eval.metrics.stats.Bootstrap",
    "eval.timing.TimingConfig": "eval.speed.timing.TimingConfig",
}
_RECORDED = {now: before for before, now in MOVED.items()}


def recorded_targets(config: Any) -> Any:
    """A copy of a configuration with every `_target_` under its name in records."""
    return _renamed(config, _RECORDED)


def current_targets(config: Any) -> Any:
    """A copy of a configuration with every `_target_` where its class is defined now."""
    return _renamed(config, MOVED)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        copied = {key: _renamed(item, names) for key, item in value.items()}
        target = copied.get("_target_")
        return copied | {"_target_": names.get(target, target)} if isinstance(target, str) else copied
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value
