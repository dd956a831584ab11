"""Train the tiny model: `python -m scripts.train_tiny`; checkpoints, curves and the export go to results/training.

Stages are trained in the order given, each from its last checkpoint; `stages=[denoiser]` names those wanted. `export`
writes the model as its checkpoints have it, finished or not, with its figures on the held-out split and a model card.
"""

import sys

import torch
from omegaconf import DictConfig, OmegaConf

from eval.sampler import SamplerConfig
from scripts.entry import say, work_on_each
from training.loop import LoopConfig
from training.release import release
from training.stages import STAGES, Training, TrainingConfig

EXPORT = "export"


def main() -> int:
    """Train, export, tell. Returns the exit status."""
    return work_on_each(_work, "train_tiny")


def _work(composed: DictConfig, choices: dict[str, str]) -> None:
    config = OmegaConf.to_container(composed, resolve=True)
    for name in config["stages"]:
        if name not in (*STAGES, EXPORT):
            raise ValueError(f"stages must be of {', '.join((*STAGES, EXPORT))}, got {name!r}")
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    training = Training(read(config))
    sampler = SamplerConfig(**config["sampler"], height=64, width=64, batch_size=20)
    for name in config["stages"]:
        if name == EXPORT:
            say(f"wrote {release(training, sampler, config['per_class'])}")
        else:
            training.run(name)


def read(config: dict) -> TrainingConfig:
    """The checked configuration of a training. ValueError: a bad value."""
    loops = {stage: LoopConfig(**config[stage]) for stage in STAGES}
    return TrainingConfig(**loops, **{key: config[key] for key in ("data", "out", "seed", "device", "dtype")})


if __name__ == "__main__":
    sys.exit(main())
