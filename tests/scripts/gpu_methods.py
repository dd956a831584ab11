"""Methods that end their process, or never end: what a stage of `scripts.gpu` must outlive."""

import dataclasses
import os
import signal
import time

import retom


@dataclasses.dataclass(frozen=True)
class Killer(retom.TokenMerger):
    """Its first plan kills the process, as a fault on the device may."""

    def plan(self, metric, grid, context):
        """Never returns."""
        os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class Sleeper(retom.TokenMerger):
    """Its first plan takes an hour."""

    def plan(self, metric, grid, context):
        """Returns when nobody waits any more."""
        time.sleep(3600)
