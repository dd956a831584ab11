"""The shipped options of a method: those of its choice in conf/method or in an installed package."""

import contextlib
from collections.abc import Mapping
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from scripts.command_line.entry import CONF


def shipped_options(method: str, sampler: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The resolved options of the choice `method`; takes a tenth of a second.

    sampler: plain options of the sampler in use, whose steps a schedule follows; by default the shipped one.
    """
    running = GlobalHydra.instance().is_initialized()
    with contextlib.nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3"):
        choice = compose("config", overrides=[f"method={method}"])
    if sampler is not None:
        choice.sampler = dict(sampler)
    return OmegaConf.to_container(choice.method, resolve=True)
