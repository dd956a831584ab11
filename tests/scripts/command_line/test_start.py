"""What a mistake may import: it is told before torch or anything else that takes seconds is imported."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.command_line.entry import ROOT

HEAVY = {
    *("torch", "diffusers", "transformers", "accelerate", "datasets", "pandas", "pyarrow", "scipy", "sklearn"),
    *("matplotlib", "cleanfid", "open_clip", "torchmetrics", "torchvision", "timm", "retom", "baselines"),
}
COMMANDS = sorted(
    path.stem for path in (ROOT / "scripts").glob("[a-z]*.py") if '__name__ == "__main__"' in path.read_text()
)
MISTAKES = {
    "run": (
        ["method=retmo"],
        ["--dry-run", "--multirun", "experiment=table1", "method=retmo"],
        ["method.ratoi=0.5"],
        ["model=tiny", "model.kind=hubb"],
        ["model=tiny", "sampler.steps=0"],
        ["model=tiny", "sampler.scheduler=PNDMSchedulr"],
        ["model=tiny", "timing.images=0"],
        ["model=tiny", "prompts.classes=[n0144076]"],
        ["model=tiny", "reference.per_class=0"],
        ["model=tiny", "bootstrap.replicates=none"],
        ["model=tiny", "shard.count=0"],
        ["--dry-run", "model=tiny", "sampler.steps=0"],
    ),
    "tables": (["select=5", "experiment=table1"], ["experiment=tabel1"]),
    "bench": (["bench.only=[levle1]"], ["bench.device=gpu"]),
    "gpu": (["stages=[agre]"],),
    "figure3": (["model=tiny", "seed=-1"], ["model=tiny", "figure3.steps=5"]),
    "show": (["seeds=[]"], ["method=retmo"]),
    "submit": (["by=A"],),
    "train_tiny": (["stages=[denoisr]"], ["denoiser.steps=0"]),
    "verify": (["run=nothing"], []),
}
TOLD = """
import atexit, json, runpy, sys
report = lambda: print("imported", json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
atexit.register(report)
module = sys.argv[1]
sys.argv = sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
LIMIT = 6  # seconds of processor time; a mistake takes one, with torch ten


def tell(command: str, *arguments: str, folder: Path) -> tuple[subprocess.CompletedProcess, set[str], float]:
    """The finished process, the packages that it imported, and its processor seconds."""
    words = [sys.executable, "-c", TOLD, f"scripts.{command}", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=folder, env=environment, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    names = [line.removeprefix("imported ") for line in done.stdout.splitlines() if line.startswith("imported ")]
    return done, set(json.loads(names[-1])), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def check_quick(done: subprocess.CompletedProcess, imported: set[str], seconds: float) -> None:
    assert not imported & HEAVY, (imported & HEAVY, done.stderr)
    assert seconds < LIMIT


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_a_misspelt_key_import_nothing_heavy(command: str, tmp_path: Path) -> None:
    done, *found = tell(command, "--help", folder=tmp_path)
    check_quick(done, *found)
    assert (done.returncode, done.stderr) == (0, "")
    done, *found = tell(command, "resluts=here", folder=tmp_path)
    check_quick(done, *found)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown key 'resluts'")


@pytest.mark.parametrize(("command", "arguments"), [(c, a) for c, all_of_it in MISTAKES.items() for a in all_of_it])
def test_a_mistake_is_told_before_anything_heavy_is_imported(command: str, arguments: list, tmp_path: Path) -> None:
    done, *found = tell(command, *arguments, folder=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    check_quick(done, *found)
