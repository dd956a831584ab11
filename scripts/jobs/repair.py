"""What became of the images of a finished run: gone, damaged or NaN ones are made anew when the run is asked for."""

import dataclasses
import logging
from collections.abc import Sequence

from eval.images import verify
from eval.prompts import PromptItem
from eval.records import RunFolder
from scripts.jobs.generate_images import Generated, generate_row
from scripts.jobs.row import Row
from scripts.jobs.session import Session

_log = logging.getLogger(__name__)


def is_damaged(row: Row, folder: RunFolder, items: Sequence[PromptItem]) -> bool:
    """Whether a finished run lacks images, which is then said; foreign files are said too and left alone."""
    check = verify(items, folder.images, (row.sampler.width, row.sampler.height))
    if check.foreign:
        _log.warning(
            "Files in %s that are not of the run, left alone: %d (first: %s).",
            folder.images,
            len(check.foreign),
            check.foreign[0],
        )
    lacking = [*check.missing, *check.broken, *check.nan]
    if lacking:
        _log.warning(
            "Run %s has its record but lacks %d of its %d images (first: %s): they are made anew and scored.",
            folder.run_id,
            len(lacking),
            len(items),
            lacking[0],
        )
    return bool(lacking)


def regenerate(row: Row, session: Session, folder: RunFolder, items: list[PromptItem]) -> Generated:
    """Make the lacking images of a finished run, and time nothing."""
    untimed = dataclasses.replace(row, timing=dataclasses.replace(row.timing, enabled=False))
    return generate_row(untimed, session, folder, items)
