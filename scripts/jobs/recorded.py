"""From a record back to the objects that made it: what scores a run again takes them from here."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

from eval.decoding import ImageSet
from eval.devices import check_device
from eval.errors import RunError
from eval.metrics import check_reference
from eval.prompts import PromptItem
from eval.records import RunFolder
from eval.reference import ReferenceSet, load_reference
from eval.reference.moments import ReferenceMoments
from scripts.jobs.row import BUILT, Row, build
from scripts.jobs.siblings import image_set


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A finished run: its `record`, the `row` its configuration describes, its folder, and what it was to draw."""

    record: dict
    row: Row
    folder: RunFolder
    items: list[PromptItem]

    @functools.cached_property
    def images(self) -> ImageSet:
        """Its images, read as they are at the first call. RunError where one is not there."""
        return image_set(self.folder, self.items)

    def reference(self) -> ReferenceSet | ReferenceMoments | None:
        """What it is measured against; None where nothing is measured. RunError: it, a weight file or its device is not
        there."""
        if self.row.metrics.profile == "none":
            return None
        check_device(self.row.sampler.device)
        self.row.metrics.preflight()
        reference = load_reference(self.row.reference, self.row.prompts.selected(), self.row.cache)
        check_reference(reference, self.row.metrics)
        return reference


def recorded(record: dict, results: Path, trusted: Sequence[str] = ()) -> Recorded:
    """The run of `record` below `results`. RunError, ValueError: its configuration builds nothing here any more."""
    config = {"shard": {"_target_": "eval.shards.Shard"}, **record["config"]}
    missing = [group for group in BUILT if group not in config]
    if missing:
        raise RunError(f"the configuration in the record of {record['method']} has no {', '.join(missing)}")
    row = Row(
        name=record["method"],
        runs=record["experiment"],
        results=Path(results),
        config=record["config"],
        # The record's own list of trusted packages is not asked: a record is data.
        **{group: build(group, config[group], trusted) for group in BUILT},
    )
    return Recorded(record, row, RunFolder.of(record, row.results / "runs"), row.prompts.items())
