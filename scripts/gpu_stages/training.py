"""Trains the tiny model at GPU sizes with `python -m scripts.train_tiny`, which resumes from checkpoints."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from eval.atomic import write_json
from eval.errors import RunError
from eval.speed.bench.stage_file import stage_facts
from scripts.command_line.entry import CONF, ROOT
from scripts.gpu_stages.order import Order
from training import checkpoint
from training.choices import STAGES


def train(order: Order) -> None:
    """Train until done or the time is up; training_<card>.json has the progress. RunError: it failed."""
    out = Path(order.results) / "training"
    overrides = [*order.sizes["overrides"], f"data={Path(order.sizes['data']).resolve()}", f"out={out}"]
    command = [sys.executable, "-m", "scripts.train_tiny", *overrides]
    try:
        ended = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, timeout=max(order.limit.left, 0.1)).returncode
    except subprocess.TimeoutExpired:
        ended = 0
    rows = progress(out, overrides)
    write_json(order.path, {"provenance": order.provenance, "config": {"gpu": dict(order.sizes)},
                            "stage": stage_facts(order.same), "rows": rows})  # fmt: skip
    if ended:
        raise RunError(f"training ended with exit status {ended}; its output is above")


def progress(out: Path, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """The steps done of each loop: `ok` if complete, otherwise `missing`."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        asked = compose("train_tiny", overrides=list(overrides))
    rows = []
    for name in (name for name in asked.stages if name in STAGES):
        path = out / f"{name}.pt"
        done = checkpoint.read(path).step if path.is_file() else 0
        whole = done >= asked[name].steps
        rows.append({"title": name, "method": "training", "status": "ok" if whole else "missing", "steps": done,
                     "error": None if whole else f"{done} of {asked[name].steps} steps so far"})  # fmt: skip
    return rows
