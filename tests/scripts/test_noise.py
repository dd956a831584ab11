"""Nothing is said twice: errors that rows share, warnings of what all processes read, notes of native code."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

import scripts.run
from eval.silence import without_lines
from eval.speed.bench.probes import peak_bytes
from scripts.command_line.entry import ROOT, ErrorsOnce
from scripts.jobs.outcomes import FAILED, Outcome, summary
from tests.scripts.conftest import SMALLEST

SENTENCE = "device=cuda was requested"


def test_what_every_row_lacks_is_said_once_and_again_in_the_summary(command, capsys, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choices = ["experiment=table1", *SMALLEST, "timing=off", "sampler.device=cuda"]
    assert command(scripts.run, "--multirun", *choices) == 1
    output = capsys.readouterr().err
    assert output.count(SENTENCE) == 2
    assert output.count("the same error as table1/none-") == 14
    assert [line.startswith("failed ") for line in output.splitlines()].count(True) == 8


def test_a_single_row_says_it_once(command, capsys, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command(scripts.run, *SMALLEST, "timing=off", "sampler.device=cuda") == 1
    output = capsys.readouterr().err
    assert output.count(SENTENCE) == 1
    assert "failed " in output


def test_the_dry_run_says_it_once(command, capsys) -> None:
    assert command(scripts.run, "--dry-run", "--multirun", *SMALLEST, "method=none,retom", "sampler.steps=0") == 1
    output = "".join(capsys.readouterr())
    assert output.count("steps must be an integer of at least 1, got 0") == 1
    assert "error: retom: the same error as none" in output


def test_other_errors_and_bugs_are_said_in_full(capsys) -> None:
    output = ErrorsOnce()
    for name in ("a", "b"):
        output.print_error(KeyError("a bug"), name)
    assert capsys.readouterr().err.count("KeyError: 'a bug'") == 2


def test_the_summary_gives_other_reasons_in_full() -> None:
    rows = [Outcome(number, f"t/{number}", FAILED, (), why) for number, why in enumerate(("x", "y", "x"))]
    assert [line.split("  ")[-1] for line in summary(rows).splitlines()] == ["x", "y", "the same error as t/0"]


def test_the_profiler_is_silent_about_what_was_there_before(capfd) -> None:
    held = [torch.zeros(4) for _ in range(3000)]

    def call() -> None:
        for _ in range(1500):
            held.pop()
        print("a word", file=sys.stderr)

    assert peak_bytes(call, "cpu") == 0
    assert peak_bytes(call, "cpu") == 0
    output = capfd.readouterr().err
    assert "CPUAllocator" not in output


def test_other_lines_come_through_also_after_an_error(capfd) -> None:
    try:
        with without_lines("secret"):
            os.write(2, b"first\na secret one\nlast\n")
            raise ValueError
    except ValueError:
        pass
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "first\nlast\nafter\n"


def test_two_processes_say_once_what_the_reference_holds(tmp_path: Path) -> None:
    reference = tmp_path / "val"
    for wnid in ("n01440764", "n03042490"):
        (reference / wnid).mkdir(parents=True)
        Image.new("RGB", (64, 64), "red").save(reference / wnid / "1.png")
        (reference / wnid / "notes.heic").write_text("x")
    asked = [*SMALLEST, "method=none", "timing=off", "reference=imagenet_folder", f"reference.path={reference}"]
    asked += ["reference.per_class=1", f"results={tmp_path / 'results'}", "sampler.steps=1"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "scripts.run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *asked], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("skipped 2 files without an image extension") == 1
