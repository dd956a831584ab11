"""Which steps of a run are due, decided once from what earlier starts left in its folder."""

import dataclasses
import logging
from collections.abc import Sequence

from eval.generation.images import verify
from eval.generation.prompts import PromptItem
from eval.records import is_finished
from eval.run.row import Row
from eval.run.siblings import image_hashes, image_set, names, siblings

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Before:
    """What earlier starts of a run left.

    record: the finished record, else None. begun: whether there are images of the run, intact or not. damaged: the run
    is finished but some images are missing, broken or NaN. images: the hash of the images of a finished run, None if it
    is damaged. against: the records of the finished runs that the row is compared with, by name.
    """

    record: dict | None = None
    begun: bool = False
    damaged: bool = False
    images: str | None = None
    against: dict[str, dict] = dataclasses.field(default_factory=dict)

    @property
    def provenance(self) -> dict | None:
        """The provenance of the images that exist."""
        return self.record and self.record["provenance"]

    def timing(self, protocol: dict) -> dict | None:
        """The timing to keep if the run is not timed again: None, which is logged, if it is from another device."""
        if self.record is None or self.record["timing"] is None:
            return None
        then, now = self.record["protocol"]["device_name"], protocol["device_name"]
        if then != now:
            _log.warning("The timing is from %s and this is %s: it is dropped; run again with timing.", then, now)
            return None
        return self.record["timing"]


@dataclasses.dataclass(frozen=True)
class Due:
    """The steps of a run that are due."""

    generate: bool = False
    time: bool = False
    score: bool = False

    @property
    def needs_model(self) -> bool:
        """Whether the model must be loaded."""
        return self.generate or self.time

    @property
    def nothing(self) -> bool:
        """Whether the run is finished."""
        return not (self.generate or self.time or self.score)


def look_back(row: Row, items: Sequence[PromptItem], record: dict | None) -> Before:
    """What earlier starts left of the run of `items`. record: the saved one. Damage and foreign files are logged."""
    against = {} if row.shard.is_part else siblings(row)
    if record is None or record["status"] == "failed":
        begun = any((row.folder.images / item.file).exists() for item in items)
        return Before(begun=begun, against=against)
    damaged = _is_damaged(row, items)
    images = None if damaged or row.shard.is_part else image_set(row.folder, items).hash
    scored = record["images"].get("sha256")
    if images is not None and scored not in (None, images):
        _log.warning("The images of run %s are not those of its record: they are scored again.", row.folder.run_id)
    return Before(record, True, damaged, images, against)


def due(row: Row, protocol: dict, before: Before) -> Due:
    """The steps of `row` under `protocol` that `before` leaves to do. A shard only generates."""
    missing = before.record is None or before.damaged
    if row.shard.is_part:
        return Due(generate=missing)
    if before.record is None:
        return Due(generate=True, time=row.timing.enabled, score=True)
    return Due(
        generate=missing,
        time=_timing_is_due(row, protocol, before.record),
        score=missing or not _scores_hold(row, protocol, before),
    )


def _is_damaged(row: Row, items: Sequence[PromptItem]) -> bool:
    """Whether a finished run misses images, which is logged. Foreign files are logged and not touched."""
    folder = row.folder
    check = verify(items, folder.images, row.sampler.size)
    if check.foreign:
        _log.warning(
            "Files in %s that are not of the run, not touched: %d (first: %s).",
            folder.images,
            len(check.foreign),
            check.foreign[0],
        )
    lacking = [*check.missing, *check.broken, *check.nan]
    if lacking:
        _log.warning(
            "Run %s has its record but misses %d of its %d images (first: %s): they are generated again and scored.",
            folder.run_id,
            len(lacking),
            len(items),
            lacking[0],
        )
    return bool(lacking)


def _timing_is_due(row: Row, protocol: dict, record: dict) -> bool:
    if not row.timing.enabled:
        return False
    moved = record["protocol"]["device_name"] != protocol["device_name"]
    otherwise = _what_is_timed(record["config"]["timing"]) != _what_is_timed(row.config["timing"])
    if moved or otherwise or record["timing"] is None:
        return True
    return row.timing.again and not record["timing"].get("quiet")


def _what_is_timed(timing: dict) -> dict:
    return {key: value for key, value in timing.items() if key not in ("wait", "again")}


def _scores_hold(row: Row, protocol: dict, before: Before) -> bool:
    """Whether the record's metrics are those of these images, protocol, intervals and compared runs."""
    record = before.record
    same_images = record["images"].get("sha256") == before.images
    same_intervals = record["config"]["bootstrap"] == row.config["bootstrap"]
    same_siblings = record.get("against") == names(before.against)
    same_against = record.get("against_pictures", {}) == image_hashes(before.against)
    return is_finished(record, protocol) and same_images and same_intervals and same_siblings and same_against
