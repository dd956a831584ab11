"""The two files of a study: numbers in one, words in a .json next to it that has their sha256."""

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eval import atomic
from eval.errors import RunError

VERSION = 1


def write_study(data: Path, content: bytes, words: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write `content` to `data` and, when that is complete, `words` next to it; both paths."""
    with atomic.replacing(data) as temporary:
        temporary.write_bytes(content)
    path = data.with_suffix(".json")
    atomic.write_json(path, {"version": VERSION, "data_sha256": hashlib.sha256(content).hexdigest(), **words})
    return data, path


@contextlib.contextmanager
def reading_study(path: Path, suffix: str, kind: str, script: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The words at `path` and the content of the file next to it with `suffix`, for a `with` block that checks them.

    RunError, naming `kind` and the `script` that makes it again: a file is absent or damaged, the two are of different
    runs, or the block found them to be something else (ValueError, KeyError, TypeError, AttributeError).
    """
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        if words["version"] != VERSION:
            raise ValueError(f"it is of version {words['version']}, not {VERSION}")
        content = path.with_suffix(suffix).read_bytes()
        if hashlib.sha256(content).hexdigest() != words["data_sha256"]:
            raise ValueError(f"the {suffix} file next to it is not the one it was written with")
        yield words, content
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile) as error:
        why = f"lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise RunError(f"{path} is no {kind} ({why}); make it again: python -m scripts.{script}") from error
