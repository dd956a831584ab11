"""Which code a submitted method is: the package of its class, by a hash of its Python files."""

import hashlib
import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

OWN = ("retom", "baselines")  # packages of this repository that hold methods


def source_hash(files: Iterable[tuple[str, bytes]]) -> str:
    """sha256 (hex) over (path within the package, sha256 of its bytes) of every file, by path."""
    total = hashlib.sha256()
    for name, data in sorted(files):
        total.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return total.hexdigest()


def can_be_found(source: Mapping) -> bool:
    """Whether a method's `source` says where others get it: this repository, a distribution, or an address."""
    named = source["url"] is not None or None not in (source["distribution"], source["version"])
    return source["package"] in OWN or named


def hash_of_folders(package: Iterable[Path]) -> str:
    """Of an importable package: its folder, those of a namespace package, or the one file of a module."""
    files = []
    for place in package:
        if place.is_file():
            files.append((place.name, place.read_bytes()))
        else:
            files += [(path.relative_to(place).as_posix(), path.read_bytes()) for path in place.rglob("*.py")]
    return source_hash(files)


def hash_at_commit(root: Path, commit: str | None, package: str) -> str | None:
    """Of a package of the repository at `root` as it was at `commit`; None where git cannot say."""
    if commit is None or not re.fullmatch("[0-9a-f]{40}", commit):
        return None
    command = ["git", "-C", str(root), "archive", "--format=tar", commit, package]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if done.returncode != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        members = [member for member in archive.getmembers() if member.isfile() and member.name.endswith(".py")]
        files = [(member.name.removeprefix(f"{package}/"), archive.extractfile(member).read()) for member in members]
    return source_hash(files)
