"""Train the tiny model; checkpoints, curves and the export go to results/training.

Stages are trained in the given order, each from its last checkpoint; `stages` selects some. `export` writes the model
of the current checkpoints, finished or not, with its scores on the held-out split and a model card.

Examples:
    python -m scripts.train_tiny
    python -m scripts.train_tiny stages=[denoiser,export]
"""

import sys

from omegaconf import DictConfig, ListConfig, OmegaConf

from eval.checks import check_integer
from eval.generation.sampler import SamplerConfig
from scripts.command_line.entry import say, work_on_each
from training.choices import STAGES, LoopConfig, TrainingConfig

EXPORT = "export"


def main() -> int:
    """Train, export, report. Returns the exit status."""
    return work_on_each(lambda composed, _: work(composed), "train_tiny")


def work(composed: DictConfig) -> None:
    """Run every stage of the configuration in order. ValueError, RunError: an invalid configuration."""
    known = (*STAGES, EXPORT)
    if not isinstance(composed.stages, ListConfig) or not all(name in known for name in composed.stages):
        raise ValueError(f"stages must be a list of {', '.join(known)}, got {composed.stages!r}")
    check_integer("per_class", composed.per_class, 1)
    if composed.threads is not None:
        check_integer("threads", composed.threads, 1)
    config = read(composed)
    sampler = SamplerConfig(**composed.sampler, height=64, width=64, batch_size=20)
    import torch

    from training.publishing.release import release
    from training.stages import Training

    if composed.threads is not None:
        torch.set_num_threads(composed.threads)
    training = Training(config)
    for name in composed.stages:
        if name == EXPORT:
            say(f"wrote {release(training, sampler, composed.per_class)}")
        else:
            training.run(name)


def read(composed: DictConfig) -> TrainingConfig:
    """The checked configuration of a training. ValueError: a bad value."""
    config = OmegaConf.to_container(composed, resolve=True)
    loops = {stage: _loop(stage, config[stage]) for stage in STAGES}
    return TrainingConfig(**loops, **{key: config[key] for key in ("data", "out", "seed", "device", "dtype")})


def _loop(stage: str, options: object) -> LoopConfig:
    try:
        return LoopConfig(**options)
    except (ValueError, TypeError) as error:  # TypeError: not a mapping, or a key that is missing or unknown
        raise ValueError(f"{stage}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
