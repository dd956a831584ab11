"""One row of a table: what is run, as plain configuration and as the objects built from it."""

import dataclasses
from pathlib import Path
from typing import Any

from eval.generation.models.config import ModelConfig
from eval.generation.prompts import PromptSet
from eval.generation.sampler import SamplerConfig
from eval.generation.shards import Shard
from eval.metrics.stats import Bootstrap
from eval.provenance import distribution_of
from eval.records import RunFolder, pixel_hash
from eval.records.targets import OURS
from eval.reference import ReferenceConfig
from eval.speed.timing import TimingConfig

CACHE = "cache"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row to run: its plain resolved `config`, which is saved, and the objects built from it."""

    name: str
    runs: str
    results: Path
    config: dict
    model: ModelConfig
    sampler: SamplerConfig
    method: Any
    prompts: PromptSet
    reference: ReferenceConfig
    metrics: Any
    timing: TimingConfig
    bootstrap: Bootstrap
    shard: Shard

    @property
    def hash(self) -> str:
        """12 hex digits of the options that change pixels."""
        return pixel_hash(self.config)

    @property
    def folder(self) -> RunFolder:
        """The folder of the run in results/runs."""
        return RunFolder(self.results / "runs", self.runs, self.name, self.hash)

    @property
    def backend(self) -> str:
        """Name of the backend that executes plans."""
        return self.config["backend"]["name"]

    @property
    def distributions(self) -> list[str]:
        """The installed distributions, beside this project, that its method and metrics are of."""
        targets = [type(self.method), *map(type, (getattr(self.metrics, "extra", None) or {}).values())]
        packages = dict.fromkeys(target.__module__.partition(".")[0] for target in targets)
        found = [distribution_of(package) for package in packages if package not in OURS]
        return [name for name in dict.fromkeys(found) if name is not None]

    @property
    def cache(self) -> Path:
        """Folder of data shared between runs: features by content, synthetic references."""
        return self.results / CACHE
