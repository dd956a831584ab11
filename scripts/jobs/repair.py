"""Repairs a finished run whose images are missing, damaged or NaN: they are generated again."""

import dataclasses
import logging
from collections.abc import Sequence

from eval.generation.images import verify
from eval.generation.prompts import PromptItem
from eval.records import RunFolder
from eval.row import Row
from scripts.jobs.generate_images import Generated, generate_row
from scripts.jobs.session import Session

_log = logging.getLogger(__name__)


def is_damaged(row: Row, folder: RunFolder, items: Sequence[PromptItem]) -> bool:
    """Whether a finished run misses images, which is logged. Foreign files are logged and not touched."""
    check = verify(items, folder.images, (row.sampler.width, row.sampler.height))
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


def regenerate(row: Row, session: Session, folder: RunFolder, items: list[PromptItem]) -> Generated:
    """Generate the missing images of a finished run, without timing."""
    untimed = dataclasses.replace(row, timing=dataclasses.replace(row.timing, enabled=False))
    return generate_row(untimed, session, folder, items)
