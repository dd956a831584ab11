"""The checks of a row before anything is generated, cheapest first, and then its downloads."""

import dataclasses

from eval.generation.prompts import PromptItem
from eval.metrics.profiles import check_reference
from eval.provenance import device_name
from eval.records import has_record
from eval.reference import ReferenceSet
from eval.run.faults import LoadReference, faults, reference_faults, require, require_image_space
from eval.run.needs import Sizes, needs
from eval.run.record import protocol_of
from eval.run.row import Row


@dataclasses.dataclass(frozen=True)
class Checked:
    """Results of the checks: the row's images to be, its reference (None without metrics), its protocol."""

    items: list[PromptItem]
    reference: ReferenceSet | None
    protocol: dict


def check(row: Row, load: LoadReference) -> Checked:
    """Check everything that may fail before the first image, cheapest checks first; then download.

    load: reads the reference images. RunError or ValueError with one line that names everything missing.
    """
    measures = row.metrics.profile != "none"
    require(faults(row))
    if measures:
        require(reference_faults(row, load, row.cache))
    require(Sizes().obstacles(needs(row, with_model=not has_record(row.folder))))
    row.metrics.preflight()
    items, reference = row.prompts.items(), None
    if measures:
        reference = load(row.reference, row.prompts.selected(), row.cache)
        check_reference(reference, row.metrics)
    require_image_space(row, items)  # again, as the downloads may have filled the disk
    return Checked(items, reference, protocol_of(row, items, reference, device_name(row.sampler.device)))
