"""The JSON file of a stage: the rows measured so far and the environment they are valid for, so a later run can resume.

Its key `stage` has `same` (card, versions and code of the rows), `running` (the cell that was being measured when the
file was written) and `notes` (one-line remarks for the reader).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.errors import RunError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class StageFile:
    """Contents of a stage's file. `rows` in order; `running`: the cell that did not end; `same`: their environment."""

    rows: tuple[dict, ...] = ()
    running: str | None = None
    notes: tuple[str, ...] = ()
    same: Mapping[str, Any] | None = None

    def of(self, same: Mapping[str, Any]) -> "StageFile":
        """This file if it is of the same card, versions and code, otherwise an empty one, as its rows are not valid."""
        known = self.same or {}
        return self if all(key in known and known[key] == value for key, value in same.items()) else StageFile()

    def measured(self, title: str, methods: Sequence[str]) -> list[dict]:
        """The rows of a cell that are `ok`, in the order of `methods`."""
        found = {row["method"]: row for row in self.rows if row["title"] == title and row["status"] == "ok"}
        return [found[name] for name in methods if name in found]

    def failed(self, title: str) -> bool:
        """Whether the cell has a failed row or did not end."""
        return title == self.running or any(row["title"] == title and row["status"] == "failed" for row in self.rows)


def read_stage(path: Path) -> StageFile:
    """The file at `path`, or an empty one if it does not exist. RunError: it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stage = content["stage"]
        for row in content["rows"]:
            _ = row["title"], row["method"], row["status"]
        return StageFile(tuple(content["rows"]), stage["running"], tuple(stage["notes"]), stage["same"])
    except FileNotFoundError:
        return StageFile()
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"no key {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise RunError(f"{path} cannot be read ({why}); delete it to measure its rows again") from error


def stage_facts(same: Row, running: str | None = None, notes: Iterable[str] = ()) -> dict[str, Any]:
    """The value of the key `stage` in a stage's file."""
    return {"same": dict(same), "running": running, "notes": list(notes)}


def fingerprint(root: Path, places: Iterable[str]) -> str:
    """12 hex digits over the names and contents of the .py and .yaml files in `places`, relative to `root`."""
    digest = hashlib.sha256()
    for path in sorted(found for place in places for found in _files(root / place)):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return [path for path in place.rglob("*") if path.suffix in (".py", ".yaml")]
