"""The settings of a training, checked before torch is imported."""

import dataclasses

from eval.checks import check_flag, check_integer, check_number

STAGES = ("classifier", "autoencoder", "clip", "denoiser")
PRECISIONS = {"float32": "no", "bfloat16": "bf16"}


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """Length and learning rate of a stage.

    The learning rate rises over `warmup` steps, stays at `lr`, and falls to zero along a cosine over the last part
    `decay` of `steps`. A resume with more `steps` continues training: before the fall begins as if they had been set
    from the start, later as a warm restart. ema: decay of the moving average of weights (0 for none), ramped up over
    the first steps. save_minutes: between checkpoints; 0 saves at the end only.
    """

    steps: int
    batch: int
    lr: float
    warmup: int = 100
    decay: float = 0.5
    weight_decay: float = 0.01
    ema: float = 0.0
    clip: float = 1.0
    compile: bool = False
    save_minutes: float = 3.0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("warmup", 0)):
            check_integer(name, getattr(self, name), least)
        for name in ("lr", "weight_decay", "clip", "save_minutes"):
            check_number(name, getattr(self, name), "[0, inf)")
        check_number("decay", self.decay, "[0, 1]")
        check_number("ema", self.ema, "[0, 1)")
        check_flag("compile", self.compile)

    def rate(self, step: int) -> float:
        """The learning rate of step `step`, from 0."""
        start = self.steps * (1 - self.decay)
        scale = min(1.0, (step + 1) / max(1, self.warmup))
        if step > start:
            import torch  # in single precision, as every training so far

            part = torch.tensor((step - start) / (self.steps - start))
            scale *= float(0.5 * (1 + torch.cos(part * torch.pi)))
        return self.lr * scale


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All settings that determine a training, besides the code.

    data: folder with train.parquet and val.parquet. out: folder of checkpoints and curves. seed: of weights, order and
    noise. device: "cpu" | "cuda". dtype: precision of matrix products; weights stay float32. classifier, autoencoder,
    clip, denoiser: length and learning rate of each stage.
    """

    data: str
    out: str
    classifier: LoopConfig
    autoencoder: LoopConfig
    clip: LoopConfig
    denoiser: LoopConfig
    seed: int = 0
    device: str = "cpu"
    dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        if self.dtype not in PRECISIONS:
            raise ValueError(f"dtype must be one of {', '.join(PRECISIONS)}, got {self.dtype!r}")
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device must be cpu or cuda, got {self.device!r}")
        check_integer("seed", self.seed, 0)
