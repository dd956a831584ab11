"""One row in five steps: check, generate, time, score, record. Around them: processes, shards, the lock, failures."""

import contextlib
import logging
from collections.abc import Iterator

from diffusers import DiffusionPipeline

from eval.decoding import ImageSet
from eval.errors import RunError
from eval.generation.applied import Applied, merges
from eval.generation.generate import generate
from eval.generation.images import verify
from eval.generation.prompts import PromptItem
from eval.interrupts import raise_if_pressed
from eval.metrics.profiles import score
from eval.run.check import Checked, check
from eval.run.due import Before, Due, due, look_back
from eval.run.record import (
    Made,
    failed_record,
    image_facts,
    made_before,
    provenance_of,
    record_of,
    scored_before,
    scored_now,
    shard_facts,
    timing_of,
)
from eval.run.row import Row
from eval.run.siblings import compared_with, image_set, sibling_images
from eval.speed.measuring import attention_of, measure
from scripts.jobs.patching import patched
from scripts.jobs.processes import ProcessLostError, Team
from scripts.jobs.session import Session

_log = logging.getLogger(__name__)


def run_row(row: Row, session: Session) -> str:
    """Run `row` until its record is written. Returns what was done: "done", "rescored" or "already finished".

    RunError for problems that the user can fix. A failure after the checks is stored in the record, unless a finished
    record exists. After KeyboardInterrupt or a lost process, the images generated so far remain and the run can be
    resumed. A shard ends with its images; the record is left to the job that closes the run.
    """
    team = session.team
    with team.phase():
        checked = check(row, session.reference)
    with _locked(row, team):
        with team.phase():
            if team.is_main:
                _open(row, checked.items)
        record = team.from_main(row.folder.read_record)
        try:
            return _run(row, session, checked, record)
        except ProcessLostError:
            raise
        except Exception as error:
            raise_if_pressed()
            if team.is_main and not _is_kept(row, record):
                _record_failure(row, checked, error)
            raise


def _run(row: Row, session: Session, checked: Checked, record: dict | None) -> str:
    """The steps after the checks, as far as they are due. record: the saved one, finished or failed."""
    team, items, protocol = session.team, checked.items, checked.protocol
    before = team.from_main(lambda: look_back(row, items, record))
    steps = team.from_main(lambda: due(row, protocol, before))
    if steps.nothing:
        return "already finished"
    if row.shard.is_part:
        _generate_part(row, session, items)
        return "done"
    if steps.needs_model:
        made = _generate_and_time(row, session, checked, before, steps)
    else:
        made = made_before(before, protocol)
    with team.phase():
        if team.is_main:
            images = image_set(row.folder, items)
            if steps.score:
                scored = scored_now(_score(row, session, checked, images, before.against), before)
            else:
                scored = scored_before(before)
            facts = image_facts(items, row.folder, images, row.sampler)
            row.folder.write_record(record_of(row, protocol, facts, made, scored))
    return "done" if steps.needs_model else "rescored"


def _generate_and_time(row: Row, session: Session, checked: Checked, before: Before, steps: Due) -> Made:
    """Generate and time what is due, with the method on the model."""
    team, items = session.team, checked.items
    with patched(row, session) as (pipe, on_pipe, identity):
        sampler = on_pipe.sampling(row.sampler)
        batch_size = _generate(row, session, items, pipe, on_pipe)[0] if steps.generate else 1
        with team.phase():
            measured = _time(row, session, items, pipe, on_pipe) if steps.time and team.is_main else None
            sites = merges(pipe, on_pipe, row.name, items[0], row.sampler)
        with team.phase():
            shown = items[: 1 if steps.time or row.shard.closes else batch_size]
            ran = attention_of(pipe, on_pipe, shown, row.sampler) if team.is_main else {}
    provenance, shards = before.provenance, team.from_main(row.folder.read_shards)
    if steps.generate:
        provenance = provenance_of(row, sampler, batch_size, {"model": identity, **ran}, shards)
    timing = timing_of(measured, before, ran) if measured else None
    return Made(sites, provenance, timing if steps.time else before.timing(checked.protocol))


def _generate_part(row: Row, session: Session, items: list[PromptItem]) -> None:
    """Generate the missing images of the row's shard, and save their settings for the job that closes the run."""
    team = session.team
    with patched(row, session) as (pipe, on_pipe, _):
        batch_size, made = _generate(row, session, items, pipe, on_pipe)
        if not made:
            return
        with team.phase():
            if team.is_main:
                ran = attention_of(pipe, on_pipe, items[:batch_size], row.sampler)
                row.folder.add_shard(shard_facts(row, made, batch_size) | ran)


def _generate(
    row: Row, session: Session, items: list[PromptItem], pipe: DiffusionPipeline, on_pipe: Applied
) -> tuple[int, int]:
    """Generate missing images: the largest batch that a call of every process could hold, and the number of images.

    A row that only closes its run generates none. RunError: images are missing (which ones of which shard).
    """
    team, folder, sampler = session.team, row.folder, on_pipe.sampling(row.sampler)
    with team.phase():
        if row.shard.closes:
            check = verify(items, folder.images, row.sampler.size)
            row.shard.require(items, [*check.missing, *check.broken], sampler.batch_size, folder.run_id)
            return sampler.batch_size, 0
        report = generate(
            pipe,
            team.share(row.shard.items(items, sampler.batch_size), sampler.batch_size),
            folder.images,
            sampler,
            before_batch=on_pipe.set_seeds,
            after_batch=on_pipe.check_once(row.name),
            progress=session.progress,
        )
    return min(team.from_all(report.batch_size)), sum(team.from_all(len(report.made) + len(report.remade)))


def _time(row: Row, session: Session, items: list[PromptItem], pipe: DiffusionPipeline, on_pipe: Applied) -> dict:
    prompts = [item.prompt for item in items]
    seeds, progress = on_pipe.set_seeds, session.progress
    return measure(pipe, row.sampler, row.timing, prompts=prompts, before_batch=seeds, progress=progress)


def _score(row: Row, session: Session, checked: Checked, images: ImageSet, against: dict[str, dict]) -> dict[str, dict]:
    if checked.reference is None:
        return {}
    others = {name: sibling_images(row, record, checked.items) for name, record in against.items()}
    return score(
        images,
        checked.reference,
        row.metrics,
        cache=row.cache,
        device=row.sampler.device,
        bootstrap=row.bootstrap,
        against=compared_with(row.name, images, others),
        progress=session.progress,
    )


@contextlib.contextmanager
def _locked(row: Row, team: Team) -> Iterator[None]:
    """The lock of the run folder or of the row's shard, held by the main process while all processes work."""
    with contextlib.ExitStack() as stack:
        with team.phase():
            if team.is_main:
                folder, shard = row.folder, row.shard
                stack.enter_context(folder.lock_shard(shard.name) if shard.is_part else folder.lock())
        yield


def _open(row: Row, items: list[PromptItem]) -> None:
    with row.folder.lock_start():
        row.folder.open(row.config)
        row.folder.write_manifest(items)


def _record_failure(row: Row, checked: Checked, error: Exception) -> None:
    """Write the record of a failed run. If that fails (full disk), raise `error`, which names the file."""
    try:
        row.folder.write_record(failed_record(row, checked.protocol, len(checked.items), error))
    except RunError as another:
        _log.warning("The failure was not recorded: %s", another)


def _is_kept(row: Row, record: dict | None) -> bool:
    """Whether a failure leaves the saved record: of a finished run; of a failed one in the job that closes it, which
    knows less about the failure than the job that had to generate."""
    return record is not None and (record["status"] != "failed" or row.shard.closes)
