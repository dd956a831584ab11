"""The training loop of all stages: batches, learning rate, mixed precision, moving average, checkpoints, curve."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from eval.errors import RunError
from training import checkpoint, curve
from training.choices import LoopConfig
from training.randomness import batch_indices, generator


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings shared by all stages: the output folder, the seed, device and precision."""

    out: Path
    seed: int
    accelerator: Accelerator

    @property
    def device(self) -> torch.device:
        """The device of models and batches."""
        return self.accelerator.device


LossOf = Callable[[torch.Tensor, torch.Generator], dict[str, torch.Tensor]]


class Loop:
    """One stage in training. After `run`, `model` has the averaged weights if the stage has an average."""

    def __init__(self, stage: str, model: torch.nn.Module, config: LoopConfig, setting: Setting, n: int) -> None:
        """`n`: number of training images."""
        self.stage, self.config, self.setting, self.n = stage, config, setting, n
        self.model = model.to(setting.device)
        self.optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.lr, betas=(0.9, 0.99))
        self.ema = self._average() if config.ema else None
        self.step, self.curve, self.seconds = 0, [], 0.0
        self._resume()

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.setting.out / f"{self.stage}.pt"

    def run(
        self, loss_of: LossOf, *, evaluate: Callable[[], dict[str, float]] | None = None, every: int = 500
    ) -> torch.nn.Module:
        """Train to `config.steps`; `loss_of(indices [batch], generator)` returns "loss" and further values to log."""
        saved, started = time.monotonic(), time.monotonic()
        before, first = self.seconds, self.step
        self.model.train()
        while self.step < self.config.steps:
            self._advance(loss_of)
            self.seconds = before + time.monotonic() - started
            if evaluate and (self.step % every == 0 or self.step == self.config.steps):
                self._evaluate(evaluate)
            if self.config.save_minutes and time.monotonic() - saved > 60 * self.config.save_minutes:
                self.save()
                saved = time.monotonic()
        if self.step > first:
            self.save()
        if self.ema:
            self.ema.copy_to(self.model.parameters())
        return self.model.eval()

    def save(self) -> None:
        """Write the checkpoint and the curve."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {"ema": self.ema.state_dict()} if self.ema else {}
        state["seconds"] = self.seconds
        checkpoint.save(checkpoint.Checkpoint(self.step, self._settings(), state, self.curve), self.path)
        curve.write(self.curve, self.setting.out / f"{self.stage}_curve")

    def _advance(self, loss_of: LossOf) -> None:
        seed, stage = self.setting.seed, self.stage
        indices = batch_indices(seed, stage, self.step, self.config.batch, self.n)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(self.step)
        with self.setting.accelerator.autocast():
            losses = loss_of(indices, generator(seed, stage, "step", self.step))
        self.setting.accelerator.backward(losses["loss"])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.step(self.model.parameters())
        self._log(losses | {"norm": norm})
        self.step += 1

    def _log(self, losses: dict[str, torch.Tensor]) -> None:
        line = {"step": self.step, **{name: float(value.detach()) for name, value in losses.items()}}
        self.curve.append(line)
        if self.step % 50 == 0:
            recent = [entry["loss"] for entry in self.curve[-50:] if "loss" in entry]
            print(f"{self.stage} {self.step}: {sum(recent) / len(recent):.4f}, {self.seconds:.0f} s", flush=True)

    def _evaluate(self, evaluate: Callable[[], dict[str, float]]) -> None:
        self.model.eval()
        if self.ema:
            self.ema.store(self.model.parameters())
            self.ema.copy_to(self.model.parameters())
        with torch.no_grad():
            figures = evaluate()
        if self.ema:
            self.ema.restore(self.model.parameters())
        self.model.train()
        self.curve.append({"step": self.step, **figures})
        print(f"{self.stage} {self.step}: " + ", ".join(f"{k} {v:.4f}" for k, v in figures.items()), flush=True)

    def _average(self) -> EMAModel:
        return EMAModel(self.model.parameters(), decay=self.config.ema, use_ema_warmup=True, power=0.75, foreach=True)

    def _settings(self) -> dict[str, object]:
        kept = ("batch", "lr", "warmup", "weight_decay", "ema", "clip")
        return {"stage": self.stage, "seed": self.setting.seed, "n": self.n} | {
            name: getattr(self.config, name) for name in kept
        }

    def _resume(self) -> None:
        found = checkpoint.load(self.path, self._settings())
        if found is None:
            return
        if found.step > self.config.steps:
            raise RunError(
                f"{self.path} has {found.step} steps, this run has {self.config.steps}; "
                "set as many or more, or use another `out` folder"
            )
        self.model.load_state_dict(found.state["model"])
        self.optimizer.load_state_dict(found.state["optimizer"])
        if self.ema:
            self.ema.load_state_dict(found.state["ema"])
            self.ema.to(self.setting.device)
        self.step, self.curve, self.seconds = found.step, list(found.curve), found.state["seconds"]


def _groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels only, as usual, not for biases and norm gains."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in wanted if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
    ]
