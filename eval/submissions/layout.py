"""What a submission is on disk: submissions/<method>/<environment>/<run>/ and the files in it."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.errors import RunError
from eval.records import validate_record
from eval.submissions.documents import read_document

LIMIT = 20_000_000  # bytes of one submission
SHOWN = 10  # images that are in it
RECORDS = ("record", "none", "oracle")
HASHES, IMAGES = "images.sha256", "images"
INVALID, VERIFIED = "invalid.json", "verified.json"
FILES = (*(f"{name}.json" for name in RECORDS), "method.json", HASHES, INVALID, VERIFIED)
_AGAIN = "pack the run again with python -m scripts.submit"


@dataclass(frozen=True)
class Submission:
    """One submission as it was read: schemas hold, nothing else is checked. hashes: sha256 by file of all images."""

    folder: Path
    record: dict
    none: dict
    oracle: dict
    method: dict
    hashes: dict[str, str]
    verified: dict | None = None

    @property
    def name(self) -> str:
        """<method>/<environment>/<run>"""
        return name_of(self.folder)


def name_of(folder: Path) -> str:
    """The last three parts of a submission's path."""
    return "/".join(folder.parts[-3:])


def fixed_images(files: Sequence[str]) -> list[str]:
    """The images that a submission shows: `SHOWN` of all, evenly spread from the first on."""
    count = min(SHOWN, len(files))
    return [files[place * len(files) // count] for place in range(count)]


def folders(root: Path) -> Iterator[Path]:
    """Every folder three levels below `root`, and wherever else a record is, by name."""
    found = {path for path in root.glob("*/*/*") if path.is_dir()}
    found |= {path.parent for path in root.rglob("record.json")}
    yield from sorted(found)


def read_submission(folder: Path) -> Submission:
    """RunError, one line: a file is missing, unexpected, too large, a link, or does not follow its schema."""
    check_files(folder)
    records = {name: _read_record(folder / f"{name}.json") for name in RECORDS}
    method = read_document(folder / "method.json", "method")
    verified = read_document(folder / VERIFIED, "verified") if (folder / VERIFIED).exists() else None
    return Submission(folder, **records, method=method, hashes=read_hashes(folder / HASHES), verified=verified)


def read_invalid(folder: Path) -> dict | None:
    """The mark of a submission that turned out wrong: `by`, `date`, `why`. RunError: it does not follow its schema."""
    return read_document(folder / INVALID, "invalid") if (folder / INVALID).exists() else None


def check_files(folder: Path) -> None:
    """RunError: something that no submission has, or more than `LIMIT` bytes."""
    total = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise RunError(f"{name} is a link; put the file itself in its place")
        if path.is_dir():
            if name != IMAGES:
                raise RunError(f"{name}/ does not belong in a submission; remove it")
            continue
        if name not in FILES and not re.fullmatch(rf"{IMAGES}/[A-Za-z0-9_-][A-Za-z0-9_.-]*\.png", name):
            raise RunError(f"{name} does not belong in a submission; remove it")
        total += path.stat().st_size
    if total > LIMIT:
        raise RunError(f"it has {total / 1e6:.1f} MB; at most {LIMIT / 1e6:.0f} MB are allowed: {_AGAIN}")


def read_hashes(path: Path) -> dict[str, str]:
    """sha256 by file name, as `sha256sum` writes them. RunError: a line is something else, or a name is there twice."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError) as error:
        raise RunError(f"{path.name} is missing or unreadable; {_AGAIN}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9_-][A-Za-z0-9_.-]*)", line)
        if match is None or match[2] in found:
            raise RunError(f"{path.name}, line {number}, is not a new file with its sha256; {_AGAIN}")
        found[match[2]] = match[1]
    return found


def file_hash(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_record(path: Path) -> dict:
    record = read_document(path, "record")
    try:
        validate_record(record)
        _check_groups(record)
    except ValueError as error:
        raise RunError(f"{path.name}: {' '.join(str(error).split())}; submit the record as the run wrote it") from error
    return record


def _check_groups(record: dict) -> None:
    """ValueError: a part that a comparison of configurations needs is no mapping."""
    parts = {"config": ("model", "sampler", "method", "backend", "prompts"), "protocol": ("model", "sampler")}
    for where, names in parts.items():
        for name in names:
            if not isinstance(record[where].get(name), dict):
                raise ValueError(f"record.{where}.{name} must be a mapping")
