"""The tiny model trained with the sizes of a GPU, by `python -m scripts.train_tiny`, which resumes from checkpoints."""

import subprocess
import sys
from pathlib import Path

from eval.errors import RunError
from scripts.command_line.entry import ROOT, say
from scripts.gpu_stages.order import Order


def train(order: Order) -> None:
    """Train until it is done or the time is up. RunError: training failed."""
    out = Path(order.results) / "training"
    command = [sys.executable, "-m", "scripts.train_tiny", *order.sizes["overrides"], f"out={out}"]
    try:
        ended = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, timeout=max(order.limit.left, 0.1)).returncode
    except subprocess.TimeoutExpired:
        say(f"the time was up; run it again and training goes on from its checkpoints in {out}")
        return
    if ended:
        raise RunError(f"training ended with exit status {ended}; its own words are above")
