"""Orders for the stages of `scripts.gpu`, at the smallest sizes."""

import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from eval.provenance import collect
from eval.speed.bench.stage_file import read_stage
from scripts.command_line.entry import CONF, ROOT
from scripts.gpu_stages.order import Order

SITE = {"level": "site", "shapes": [[64, 32, 2]], "rounds": 3, "warmup": 1}
SAME = {"device": "this", "code": "1"}


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("gpu", overrides=list(overrides)), resolve=True)


def order(folder: Path, stage: str = "sites", *, left: float = 600.0, **changes) -> Order:
    sizes = {"least": 2, "cells": {"a": {**SITE, "methods": ["none", "oracle"]}}}
    values = {"results": str(folder), "card": "cpu", "same": SAME, "provenance": collect(root=ROOT), "sizes": sizes}
    return Order(stage, "cpu", until=time.monotonic() + left, **(values | changes))


def rows_of(order: Order) -> dict[tuple[str, str], dict]:
    return {(row["title"].partition(",")[0], row["method"]): row for row in read_stage(order.path).rows}


def statuses(order: Order) -> list[str]:
    return [row["status"] for row in read_stage(order.path).rows]
