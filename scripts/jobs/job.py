"""One row from checks to record: preflight, lock, images, timing, metrics, record."""

import contextlib
import dataclasses
import logging
import traceback
from collections.abc import Iterator
from typing import Any

from eval.errors import RunError
from eval.generation.prompts import PromptItem
from eval.interrupts import raise_if_pressed
from eval.metrics.decoding import ImageSet
from eval.metrics.profiles import check_reference, score
from eval.provenance import collect, device_name
from eval.records import RECORD_VERSION, RunFolder, is_finished, make_protocol, protocol_hash, status_of
from eval.reference import ReferenceSet, load_reference
from eval.reference.moments import ReferenceMoments
from eval.row import Row
from scripts.command_line.entry import ROOT
from scripts.jobs.generate_images import Generated, code, generate_part, generate_row, image_facts
from scripts.jobs.needs import Sizes, faults, has_record, needs, reference_faults, require, require_image_space
from scripts.jobs.processes import ProcessLostError
from scripts.jobs.repair import is_damaged, regenerate
from scripts.jobs.session import Session
from scripts.jobs.siblings import compared_with, image_hashes, image_set, names, sibling_images, siblings

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Checked:
    """Results of the checks before anything is generated."""

    items: list[PromptItem]
    reference: ReferenceSet | None
    protocol: dict


def run_job(row: Row, session: Session) -> str:
    """Run `row` until its record is written. Returns what was done: "done", "rescored" or "already finished".

    RunError for problems that the user can fix. A failure after the checks is stored in the record, unless a finished
    record exists. After KeyboardInterrupt or a lost process, the images generated so far remain and the run can be
    resumed. A shard ends with its images; the record is left to the job that closes the run.
    """
    with session.team.phase():
        checked = preflight(row, session)
    folder = row.folder
    with _held(folder, row, session):
        with session.team.phase():
            if session.team.is_main:
                _prepare(folder, row, checked)
        record = session.team.from_main(folder.read_record)
        finished = record if record is not None and record["status"] != "failed" else None
        try:
            return _work(row, session, folder, checked, finished)
        except ProcessLostError:
            raise
        except Exception as error:
            raise_if_pressed()
            # A closing job knows less about the failure than the job that had to generate.
            keeps = row.shard.closes and record is not None
            if finished is None and session.team.is_main and not keeps:
                _record_failure(folder, row, checked, error)
            raise


def preflight(row: Row, session: Session) -> Checked:
    """Check everything that may fail before the first image, cheapest checks first; then download.

    RunError or ValueError with one line that names everything missing.
    """
    require(faults(row))
    if row.metrics.profile != "none":
        require(reference_faults(row, session, row.cache))
    folder = row.folder
    require(Sizes().obstacles(needs(row, with_model=not has_record(folder))))
    row.metrics.preflight()
    items = row.prompts.items()
    reference = None
    if row.metrics.profile != "none":
        reference = session.reference(row.reference, row.prompts.selected(), row.cache, load_reference)
        check_reference(reference, row.metrics)
    return Checked(items, reference, protocol_of(row, items, reference, device_name(row.sampler.device)))


def protocol_of(
    row: Row, items: list[PromptItem], reference: ReferenceSet | ReferenceMoments | None, device_name: str
) -> dict:
    """The protocol of the row's numbers: its own choices, reference and metrics, and the machine."""
    return make_protocol(
        row.config,
        prompts_hash=row.prompts.hash,
        reference_hash=reference.hash if reference else None,
        metrics={"profile": row.metrics.profile, "networks": _networks(row.metrics)},
        n=len(items),
        n_reference=reference.n if reference else None,
        device_name=device_name,
    )


@contextlib.contextmanager
def _held(folder: RunFolder, row: Row, session: Session) -> Iterator[None]:
    """The lock of the run folder or of the row's shard, held by the main process while all processes work."""
    with contextlib.ExitStack() as stack:
        with session.team.phase():
            if session.team.is_main:
                stack.enter_context(folder.lock_shard(row.shard.name) if row.shard.is_part else folder.lock())
        yield


def _prepare(folder: RunFolder, row: Row, checked: Checked) -> None:
    require_image_space(row, folder, checked.items)
    with folder.lock_start():
        folder.open(row.config)
        folder.write_manifest(checked.items)


def _work(row: Row, session: Session, folder: RunFolder, checked: Checked, finished: dict | None) -> str:
    """Generate, time and score what the finished record (if any) does not contain yet."""
    damaged = finished is not None and session.team.from_main(lambda: is_damaged(row, folder, checked.items))
    if row.shard.is_part:
        if finished is not None and not damaged:
            return "already finished"
        generate_part(row, session, folder, checked.items)
        return "done"
    against = session.team.from_main(lambda: siblings(row))
    changed = (
        finished is not None and not damaged and session.team.from_main(lambda: _changed(folder, checked, finished))
    )
    generating = finished is None or _timing_is_due(row, checked, finished)
    scoring = finished is None or damaged or changed or not _scores_hold(row, checked, finished, against)
    if not (generating or scoring):
        return "already finished"
    if generating:
        generated = generate_row(row, session, folder, checked.items)
        if finished is not None and not generated.made:  # timed again: the images are unchanged
            generated = dataclasses.replace(generated, provenance=finished["provenance"])
    else:
        generated = regenerate(row, session, folder, checked.items) if damaged else _generated_before(finished)
        generated = dataclasses.replace(generated, timing=_timing_of(checked, finished))
    with session.team.phase():
        if session.team.is_main:
            images = image_set(folder, checked.items)
            metrics = _score(row, session, images, checked, against) if scoring else finished["metrics"]
            scored_by = code() if scoring else finished.get("scored_by")
            facts = image_facts(checked.items, folder, images, row.sampler)
            folder.write_record(_record(row, checked, generated, facts, metrics, against) | {"scored_by": scored_by})
    return "done" if generating or damaged else "rescored"


def _timing_is_due(row: Row, checked: Checked, finished: dict) -> bool:
    if not row.timing.enabled:
        return False
    moved = finished["protocol"]["device_name"] != checked.protocol["device_name"]
    otherwise = _what_is_timed(finished["config"]["timing"]) != _what_is_timed(row.config["timing"])
    if moved or otherwise or finished["timing"] is None:
        return True
    return row.timing.again and not finished["timing"].get("quiet")


def _what_is_timed(timing: dict) -> dict:
    return {key: value for key, value in timing.items() if key not in ("wait", "again")}


def _scores_hold(row: Row, checked: Checked, finished: dict, against: dict[str, dict]) -> bool:
    same_intervals = finished["config"]["bootstrap"] == row.config["bootstrap"]
    same_siblings = finished.get("against") == names(against)
    same_images = finished.get("against_pictures", {}) == image_hashes(against)
    return is_finished(finished, checked.protocol) and same_intervals and same_siblings and same_images


def _changed(folder: RunFolder, checked: Checked, finished: dict) -> bool:
    """Whether the images, although intact, are not those that were scored; this is logged."""
    scored = finished["images"].get("sha256")
    changed = scored != image_set(folder, checked.items).hash
    if changed and scored is not None:
        _log.warning("The images of run %s are not those of its record: they are scored again.", folder.run_id)
    return changed


def _timing_of(checked: Checked, finished: dict) -> dict | None:
    """The timing to keep in a record that is not timed again: None if it was measured on another device."""
    before, now = finished["protocol"]["device_name"], checked.protocol["device_name"]
    if finished["timing"] is not None and before != now:
        _log.warning("The timing is from %s and this is %s: it is dropped; run again with timing.", before, now)
        return None
    return finished["timing"]


def _generated_before(finished: dict) -> Generated:
    return Generated(finished["merges"], None, finished["provenance"])


def _score(row: Row, session: Session, own: ImageSet, checked: Checked, against: dict[str, dict]) -> dict[str, dict]:
    if checked.reference is None:
        return {}
    others = {name: sibling_images(row, record, checked.items) for name, record in against.items()}
    return score(
        own,
        checked.reference,
        row.metrics,
        cache=row.cache,
        device=row.sampler.device,
        bootstrap=row.bootstrap,
        against=compared_with(row.name, own, others),
        progress=session.progress,
    )


def _record(
    row: Row, checked: Checked, generated: Generated, images: dict, metrics: dict, against: dict[str, dict]
) -> dict:
    return {
        **_identity(row, checked),
        "status": status_of(images["n"], len(images["invalid"])),
        "provenance": generated.provenance,
        "merges": generated.merges,
        "metrics": metrics,
        "against": names(against),
        "against_pictures": image_hashes(against),
        "timing": generated.timing,
        "images": images,
        "error": None,
    }


def _record_failure(folder: RunFolder, row: Row, checked: Checked, error: Exception) -> None:
    """Write the record of a failed run. If that fails (full disk), raise `error`, which names the file."""
    try:
        folder.write_record(_failed_record(row, checked, error))
    except RunError as another:
        _log.warning("The failure was not recorded: %s", another)


def _failed_record(row: Row, checked: Checked, error: Exception) -> dict:
    message = str(error) if isinstance(error, RunError | ValueError) else f"{type(error).__name__}: {error}"
    return {
        **_identity(row, checked),
        "status": "failed",
        "provenance": collect(root=ROOT, device=row.sampler.device, dtype=row.sampler.dtype),
        "merges": [],
        "metrics": {},
        "timing": None,
        "images": {"n": len(checked.items), "invalid": [], "foreign": []},
        "error": {"sentence": message, "traceback": "".join(traceback.format_exception(error))},
    }


def _identity(row: Row, checked: Checked) -> dict:
    return {
        "record_version": RECORD_VERSION,
        "experiment": row.runs,
        "method": row.name,
        "pixel_hash": row.hash,
        "config": row.config,
        "protocol": checked.protocol,
        "protocol_hash": protocol_hash(checked.protocol),
    }


def _networks(metrics: Any) -> dict[str, str]:
    """What each metric's numbers depend on besides the images, by metric."""
    if metrics.profile == "none":
        return {}
    networks = metrics.frechet | metrics.kernel | metrics.text
    return {name: network.identity for name, network in networks.items()}
