"""Digests of files, as weight files are named by (sha256) and as git names small files (sha1 of a blob)."""

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_sha1(path: Path) -> str:
    """sha1 (hex) under which git stores a file: the hub names small files in its cache by it."""
    content = Path(path).read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
