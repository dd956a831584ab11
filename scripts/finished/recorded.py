"""From a record back to the objects that made it, for scoring a run again."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

from eval.decoding import ImageSet
from eval.devices import check_device
from eval.errors import RunError
from eval.generation.prompts import PromptItem
from eval.metrics.profiles import check_reference
from eval.records import RunFolder
from eval.reference import ReferenceSet
from eval.reference.loading import load_reference
from eval.reference.moments import ReferenceMoments
from eval.run.row import Row
from eval.run.siblings import image_set
from scripts.jobs.row import BUILT, build


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A finished run: its `record`, the `row` of its configuration, its folder, and its items."""

    record: dict
    row: Row
    folder: RunFolder
    items: list[PromptItem]

    @functools.cached_property
    def images(self) -> ImageSet:
        """Its images, unchanged on disk. RunError if one is missing."""
        return image_set(self.folder, self.items)

    def reference(self) -> ReferenceSet | ReferenceMoments | None:
        """Its reference; None without metrics. RunError: reference, weight file or device is not available."""
        if self.row.metrics.profile == "none":
            return None
        check_device(self.row.sampler.device)
        self.row.metrics.preflight()
        reference = load_reference(self.row.reference, self.row.prompts.selected(), self.row.cache)
        check_reference(reference, self.row.metrics)
        return reference


def recorded(record: dict, results: Path, trusted: Sequence[str] = ()) -> Recorded:
    """The run of `record` in `results`. RunError, ValueError: its configuration cannot be built here any more."""
    config = {"shard": {"_target_": "eval.generation.shards.Shard"}, **record["config"]}
    missing = [group for group in BUILT if group not in config]
    if missing:
        raise RunError(f"the configuration in the record of {record['method']} has no {', '.join(missing)}")
    row = Row(
        name=record["method"],
        runs=record["experiment"],
        results=Path(results),
        config=record["config"],
        # The record's own list of trusted packages is ignored: a record is data.
        **{group: build(group, config[group], trusted) for group in BUILT},
    )
    return Recorded(record, row, RunFolder.of(record, row.results / "runs"), row.prompts.items())
