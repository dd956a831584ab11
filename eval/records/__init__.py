"""Records of runs: the public names of this package, and loading many records."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from eval.errors import RunError
from eval.records.canonical import make_protocol, pixel_hash, protocol_hash
from eval.records.run_folder import RunFolder
from eval.records.schema import BASELINE, BOUND, RECORD_VERSION, status_of, validate_record

__all__ = [
    "BASELINE",
    "BOUND",
    "RECORD_VERSION",
    "RunFolder",
    "has_record",
    "is_finished",
    "load_record",
    "load_records",
    "make_protocol",
    "pixel_hash",
    "protocol_hash",
    "run_id",
    "status_of",
    "validate_record",
]


_log = logging.getLogger(__name__)


def is_finished(record: Mapping | None, protocol: Mapping) -> bool:
    """Whether the run is complete under this protocol.

    If only the protocol differs, the saved images are scored again.
    """
    return (
        record is not None
        and record["status"] in ("ok", "invalid")
        and record["protocol_hash"] == protocol_hash(protocol)
    )


def run_id(record: Mapping) -> str:
    """The run's name in tables: `<experiment>/<method>-<pixel hash>`, its folder in results/runs."""
    return f"{record['experiment']}/{record['method']}-{record['pixel_hash']}"


def load_records(
    runs: Path, experiment: str | None = None, *, warn: Callable[[str], None] = _log.warning
) -> list[dict]:
    """All valid records in `runs` (results/runs) or of one experiment, sorted by folder name.

    Runs without a record are left out: the table shows their rows as missing. Records that are unreadable, corrupt or
    of another version are left out too, and `warn` is called with a one-line message for each.
    """
    records = []
    for path in sorted(Path(runs).glob(f"{experiment or '*'}/*/record.json")):
        try:
            records.append(load_record(path))
        except RunError as error:
            warn(str(error))
    return records


def load_record(path: Path) -> dict:
    """The record at `path`, unchanged. RunError: it is unreadable, corrupt, of another version or misplaced."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        validate_record(record)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); give this user access to it.") from error
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise RunError(
            f"{path} is not a record of version {RECORD_VERSION} ({why}); "
            f"it counts as unfinished: run this row again (its images are reused), or move its folder away."
        ) from error
    if path.parent.name != f"{record['method']}-{record['pixel_hash']}" or path.parts[-3] != record["experiment"]:
        raise RunError(f"{path} is the record of {run_id(record)}; move it to that run's folder, or delete it.")
    return record


def has_record(folder: RunFolder) -> bool:
    """Whether the run has a record without failure."""
    try:
        return load_record(folder.path / "record.json")["status"] != "failed"
    except RunError:  # none, or unreadable: the run rebuilds it
        return False
