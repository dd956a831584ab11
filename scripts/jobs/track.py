"""Sends a finished row to the chosen tracker."""

from pathlib import Path

from eval.records import RunFolder, load_records, run_id
from eval.records.canonical import flat_options
from eval.run.row import Row
from eval.trackers import Tracked, Tracker, send
from eval.trackers.curves import curves, numbers
from eval.trackers.sheet import sheet

GROUPS = ("model", "sampler", "method", "backend", "prompts")


def track(row: Row, tracker: Tracker | None) -> bool:
    """Send the row's record, curves and images to `tracker`; returns whether it succeeded. Never raises for it."""
    return tracker is None or send(tracker, lambda: _gather(row))


def _gather(row: Row) -> Tracked:
    folder = row.folder
    record = folder.read_record()
    name = run_id(record)
    beside = [other for other in load_records(row.results / "runs", row.runs) if run_id(other) != name]
    return Tracked(name, record, _options(record), numbers(record), curves(record, beside), sheet(_images(folder)))


def _options(record: dict) -> dict[str, str | int | float | bool]:
    flat = flat_options({group: record["config"][group] for group in GROUPS})
    plain = (str, int, float, bool)
    kept = {name: value if isinstance(value, plain) else str(value) for name, value in flat.items()}
    return {"method": record["method"]} | {name: value for name, value in kept.items() if not name.endswith("_target_")}


def _images(folder: RunFolder) -> list[Path]:
    return [folder.image_path(item) for item in folder.read_manifest() or []]
