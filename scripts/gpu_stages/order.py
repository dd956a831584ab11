"""The order for one process as plain data, written to its standard input."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.speed.bench.budget import Limit

MACHINE = "machine"  # not a stage: reports card and versions
STAGES = ("agree", "seconds", "denoisers", "compiled", "sites", "training")
BENCHES = ("denoisers", "compiled", "sites")


@dataclasses.dataclass(frozen=True)
class Order:
    """One stage of one run.

    results: folder of the files. card: the card's name in file names. sizes: the stage's section of conf/gpu. until:
    the deadline, a reading of time.monotonic (the same for all processes of a machine). same: environment that reused
    rows must have. provenance: of eval.provenance.collect. again: reuse nothing.
    methods: in addition to those of conf/bench.yaml; trusted: packages that they may be from.
    given_up: cells, by title, in which an earlier process of this run ended, with the reason.
    """

    stage: str
    device: str
    results: str = ""
    card: str = ""
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    until: float = 0.0
    same: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    again: bool = False
    methods: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trusted: Sequence[str] = ()
    given_up: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The stage's JSON file."""
        return stage_path(Path(self.results), self.stage, self.card)

    @property
    def limit(self) -> Limit:
        """The deadline and the minimum rounds."""
        return Limit(self.until, self.sizes.get("least", 1))


def stage_path(folder: Path, stage: str, card: str) -> Path:
    """The JSON file of a stage: agree_, speed_ or training_<card>, or bench_<card>_<stage>."""
    names = {"agree": f"agree_{card}", "seconds": f"speed_{card}", "training": f"training_{card}"}
    return folder / f"{names.get(stage, f'bench_{card}_{stage}')}.json"
