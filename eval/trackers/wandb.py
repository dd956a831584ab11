"""Weights & Biases: one run per row, online, or offline into a folder for `wandb sync`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from eval.trackers import Tracked

MODES = ("offline", "online")


@dataclass(frozen=True)
class WandB:
    """Destination of the runs.

    project, entity: W&B's names; entity None is the user's default. mode: "offline" needs no network and no account.
    folder: where W&B writes its files. ValueError: a bad value.
    """

    folder: str
    project: str = "retom"
    entity: str | None = None
    mode: str = "offline"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"tracker.mode must be one of {', '.join(MODES)}, got {self.mode!r}")
        for name in ("folder", "project"):
            if not getattr(self, name):
                raise ValueError(f"tracker.{name} must be given, got {getattr(self, name)!r}")

    def keep(self, run: Tracked) -> None:
        """Send the run under an id derived from its name, so that sending it again updates the same run."""
        import wandb

        Path(self.folder).mkdir(parents=True, exist_ok=True)
        sent = wandb.init(
            project=self.project,
            entity=self.entity,
            id=hashlib.sha256(run.name.encode()).hexdigest()[:16],
            name=run.name,
            group=run.record["experiment"],
            config=run.record["config"],
            dir=self.folder,
            mode=self.mode,
            resume="allow",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )
        try:
            sent.summary["record"] = dict(run.record)
            logged: dict = dict(run.numbers)
            for curve in run.curves:
                table = wandb.Table(columns=[curve.x, curve.y], data=[list(point) for point in curve.points])
                logged[f"curve/{curve.title}"] = wandb.plot.line(table, curve.x, curve.y, title=curve.title)
            if run.sheet is not None:
                logged["images"] = wandb.Image(run.sheet)
            sent.log(logged)
        finally:
            sent.finish()
            wandb.teardown()  # waits until the files are written; `finish` alone defers that to the end of the process
