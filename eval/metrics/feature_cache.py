"""Expensive arrays, stored on disk under the hash of their inputs."""

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eval.atomic import clear, replacing

_log = logging.getLogger(__name__)


def cached_array(cache: Path, parts: tuple[str, ...], compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of `parts` (everything its values depend on) from `cache`, or computed by `compute` and stored.

    A damaged file is computed again and a warning is logged. Arrays that are not finite are not stored.
    """
    stored = load_array(cache, parts)
    if stored is not None:
        return stored
    values = compute()
    store_array(cache, parts, values)
    return values


def load_array(cache: Path, parts: tuple[str, ...]) -> np.ndarray | None:
    """The array stored under `parts`, or None if there is none or the file is damaged (which is logged)."""
    path = _path(cache, parts)
    if not path.is_file():
        return None
    try:
        # Opened here, because np.load does not close its file if the archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if tuple(stored["parts"].tolist()) != parts:
                raise ValueError("it is an entry of other inputs")
            return stored["values"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        _log.warning("cached features %s are damaged (%s): computing them again", path, error)
    return None


def store_array(cache: Path, parts: tuple[str, ...], values: np.ndarray) -> None:
    """Store `values` under `parts`, unless some are not finite: those are computed again once the cause is fixed."""
    if not np.isfinite(values).all():
        return
    path = _path(cache, parts)
    clear(path.parent)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, values=values, parts=np.array(parts))


def _path(cache: Path, parts: tuple[str, ...]) -> Path:
    return Path(cache) / "features" / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}.npz"
