"""Parsers of the files in a run folder. ValueError if the text is not valid."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from eval.errors import RunError
from eval.records.canonical import pixel_hash, plain
from eval.records.schema import RECORD_VERSION


def parse_weights(text: str) -> dict:
    """weights.json: sha256 by file or component."""
    return _mapping(json.loads(text))


def parse_shards(text: str) -> list[dict]:
    """shards.json: the settings each part was generated with."""
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError("it is not a list")
    if not all(isinstance(_mapping(entry).get("batch_size_drawn"), int) for entry in entries):
        raise ValueError("an entry has no batch_size_drawn")
    return entries


def parse_config(text: str) -> tuple[dict, str]:
    """config.yaml and its hash."""
    config = _mapping(yaml.safe_load(text))
    return plain(config), pixel_hash(config)


def parse_manifest(text: str) -> list[dict]:
    """manifest.jsonl: its items."""
    # Not splitlines(): a prompt may contain U+2028, which JSON does not escape.
    items = [json.loads(line) for line in text.split("\n")[:-1]]
    if not text.endswith("\n") or not all(isinstance(item, dict) for item in items):
        raise ValueError("not one JSON object per line")
    return items


def check_version(record: Any, path: Path) -> None:
    """RunError if the record at `path` is of another version of the harness."""
    version = record.get("record_version") if isinstance(record, dict) else None
    if isinstance(version, int) and version != RECORD_VERSION:
        raise RunError(
            f"{path} is of record version {version} and this harness reads version {RECORD_VERSION}; "
            f"use the version that wrote it, or move the file away to rebuild it from the images."
        )


def check_files(items: Iterable[Mapping], path: Path) -> None:
    """RunError, naming the manifest `path`, unless every item has a plain, unique file name."""
    seen = set()
    for item in items:
        name = item.get("file")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}", name):
            raise RunError(
                f"{path} names the file {name!r:.80}; a file name is at most 200 letters, digits, '_', '-' and '.'."
            )
        if name in seen:
            raise RunError(f"{path} names the file {name!r} twice; file names must be unique.")
        seen.add(name)


def _mapping(value: object) -> dict:
    if not isinstance(value, dict):
        raise ValueError("it is not a mapping")
    return value
