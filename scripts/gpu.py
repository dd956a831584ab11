"""A short benchmark of a GPU; results/gpu_<card>.md, docs/gpu.md.

Stages run one after the other, each in its own process and within its share of the time. Measured rows are saved; the
same command continues with the missing ones.

Examples:
    python -m scripts.gpu minutes=10
    python -m scripts.gpu device=cpu minutes=2
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from eval.checks import check_flag, check_number
from eval.devices import check_device_name
from eval.errors import RunError
from eval.speed.bench.budget import allotted
from eval.speed.bench.overview import Overview, Stage, terminal, write_overview
from eval.speed.bench.stage_file import read_stage
from scripts.command_line.entry import say, work_on_each
from scripts.gpu_stages.launch import Ended, run_stage
from scripts.gpu_stages.machine import check_driver
from scripts.gpu_stages.order import MACHINE, STAGES, Order, stage_path

CPU_FOLDER = "smoke"  # toy sizes are not results


def main() -> int:
    """Run the stages. Returns 1 if one of them, or one of its rows, failed."""

    def work(composed: DictConfig, choices: dict[str, str]) -> int:
        return run(OmegaConf.to_container(composed, resolve=True))

    return work_on_each(work, "gpu")


def run(config: Mapping[str, Any]) -> int:
    """Run the stages of a composed configuration and write the overview; returns 1 if anything failed.

    ValueError, RunError: errors that can be found before anything runs.
    """
    began = time.monotonic()
    check(config)
    check_driver(config["device"])
    end = began + 60 * config["minutes"]
    looked = run_stage(Order(MACHINE, config["device"]), end - began)
    if looked.error is not None:
        raise RunError(looked.error)
    machine, sizes = looked.found, config[_kind(config)]
    folder = Path(config["results"]).resolve() / (CPU_FOLDER if config["device"] == "cpu" else "")
    ended: dict[str, tuple[Ended, float]] = {}
    for place, stage in enumerate(config["stages"]):
        shares = [sizes["shares"][name] for name in config["stages"][place:]]
        seconds = allotted(shares, end - time.monotonic())
        say(f"== {stage}: {seconds:.0f} s")
        started = time.monotonic()
        outcome = run_stage(_order(stage, config, machine, folder), seconds)
        ended[stage] = outcome, time.monotonic() - started
        if outcome.error is not None:
            say(f"{stage} {'failed' if outcome.in_time else 'was stopped'}: {outcome.error}")
    return _report(config, machine, folder, ended)


def check(config: Mapping[str, Any]) -> None:
    """ValueError or RunError for a value that is not allowed."""
    check_device_name(config["device"])
    check_number("minutes", config["minutes"], "(0, inf)")
    check_flag("again", config["again"])
    stages = config["stages"]
    known = isinstance(stages, list) and stages and all(stage in STAGES for stage in stages)
    if not known or len(set(stages)) < len(stages):
        raise RunError(f"stages must be a list of {', '.join(STAGES)}, each at most once, got {stages!r}")
    kind = _kind(config)
    for stage in STAGES:
        check_number(f"{kind}.shares.{stage}", config[kind]["shares"].get(stage), "(0, inf)")


def _kind(config: Mapping[str, Any]) -> str:
    """The section of sizes: "cuda" or "cpu"."""
    return config["device"].partition(":")[0]


def _order(stage: str, config: Mapping[str, Any], machine: Mapping[str, Any], folder: Path) -> Order:
    return Order(
        stage,
        config["device"],
        results=str(folder),
        card=machine["card"],
        sizes=config[_kind(config)][stage],
        same=machine["same"],
        provenance=machine["provenance"],
        again=config["again"],
        methods=config["methods"] or {},
        trusted=config["trusted"],
    )


def _report(
    config: Mapping[str, Any], machine: Mapping[str, Any], folder: Path, ended: Mapping[str, tuple[Ended, float]]
) -> int:
    """Write and print the overview of all stages that have a file or ran; returns 1 if one failed."""
    stages = [_stage(name, folder, machine, *ended.get(name, (None, None))) for name in STAGES]
    stages = [stage for stage in stages if stage.name in ended or stage.rows or stage.error]
    overview = Overview(machine["card"], machine["same"]["device"], tuple(stages), config["minutes"])
    paths = write_overview(folder, overview, machine["provenance"], {"gpu": dict(config)})
    print(terminal(overview), flush=True)
    say(f"written: {', '.join(map(str, paths))}")
    return int(any(stage.failed for stage in stages if stage.name in ended))


def _stage(name: str, folder: Path, machine: Mapping[str, Any], ended: Ended | None, seconds: float | None) -> Stage:
    path = stage_path(folder, name, machine["card"])
    error, cut = (ended.error, not ended.in_time) if ended else (None, False)
    try:
        found = read_stage(path).of(machine["same"])
    except RunError as damaged:
        return Stage(name, seconds=seconds, error=str(damaged))
    files = sorted(other.name for other in folder.glob(f"{path.stem}.*")) if found.rows else []
    return Stage(name, found.rows, found.notes, seconds, error, cut, tuple(files))


if __name__ == "__main__":
    sys.exit(main())
