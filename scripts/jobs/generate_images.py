"""The part of a run that needs the model: images, merge report, timing."""

import dataclasses
from collections.abc import Callable

import torch
from diffusers import DiffusionPipeline

from eval.errors import RunError
from eval.generation.applied import Applied
from eval.generation.generate import generate
from eval.generation.images import verify
from eval.generation.pipelines import pipe_identity
from eval.generation.prompts import PromptItem
from eval.generation.sampler import SamplerConfig, call_pipeline, denoiser
from eval.metrics.decoding import ImageSet
from eval.provenance import collect, device_name
from eval.records import RunFolder
from eval.row import Row
from eval.speed.attention import attention_dispatch, first_call_attention
from eval.speed.timing import measure
from scripts.command_line.entry import ROOT
from scripts.jobs.patching import applied
from scripts.jobs.serving import check_served
from scripts.jobs.session import Session


@dataclasses.dataclass(frozen=True)
class Generated:
    """Results for the record: `merges` per site, `timing` or None, `provenance`; `made`: number of new images."""

    merges: list[dict]
    timing: dict | None
    provenance: dict
    made: int = 0


def generate_row(row: Row, session: Session, folder: RunFolder, items: list[PromptItem]) -> Generated:
    """Generate the missing images of `items` with the row's method, then time it in the main process.

    A row that only closes its run generates no image. RunError: the method merges nothing although it should, or images
    are missing at the end (if the run is split into shards: which images of which shard).
    """
    team = session.team
    resumed = team.from_main(lambda: _begun_before(items, folder, row.sampler))
    with team.phase():
        pipe = _pipeline(row, session)
        identity = pipe_identity(pipe)
        if team.is_main:
            folder.keep_weights(identity["weights"])
    with applied(pipe, row.method, row.backend) as on_pipe:
        with team.phase():
            if row.shard.closes:
                batch_size, made = _require(row, folder, items, on_pipe), 0
            else:
                batch_size, made = _generate(row, session, folder, items, pipe, on_pipe)
        with team.phase():
            timed = team.is_main and row.timing.enabled
            timing = _time(row, session, items, pipe, on_pipe, resumed) if timed else None
            if not _has_worked(on_pipe):
                _probe(pipe, row.sampler, items[0], on_pipe)
            on_pipe.check(row.name)
        merges = on_pipe.report()
        with team.phase():
            images = 1 if timing or row.shard.closes else batch_size
            attention = _attention(pipe, row.sampler, items[:images], on_pipe) if team.is_main else {}
    if timing is not None:
        timing["attention_kernel"] = attention["attention_kernel"]
    shards = team.from_main(folder.read_shards)
    model = {"model": identity, **attention}
    facts = _provenance(row, model, on_pipe.sampling(row.sampler), min(team.from_all(batch_size)), shards)
    return Generated(merges, timing, facts, sum(team.from_all(made)))


def generate_part(row: Row, session: Session, folder: RunFolder, items: list[PromptItem]) -> None:
    """Generate the missing images of the row's shard of `items`, without timing or report. RunError as `generate_row`.

    The settings used are saved next to them, for the record written by the job that closes the run.
    """
    with session.team.phase():
        pipe = _pipeline(row, session)
        if session.team.is_main:
            folder.keep_weights(pipe_identity(pipe)["weights"])
    with applied(pipe, row.method, row.backend) as on_pipe, session.team.phase():
        batch_size, made = _generate(row, session, folder, items, pipe, on_pipe)
        if _has_worked(on_pipe):
            on_pipe.check(row.name)
        attention = _attention(pipe, row.sampler, items[:batch_size], on_pipe) if session.team.is_main else {}
    batch_size, made = min(session.team.from_all(batch_size)), sum(session.team.from_all(made))
    with session.team.phase():
        if session.team.is_main and made:
            folder.add_shard(_shard_facts(row, made, batch_size) | attention)


def _pipeline(row: Row, session: Session) -> DiffusionPipeline:
    """The row's pipeline, loaded only if it supports the method."""
    check_served(row)
    pipe = session.pipeline(row.model, row.sampler)
    if row.sampler.compile:
        torch.compiler.reset()  # graphs of the previous row, which may have used this pipeline, are not reusable
    return pipe


def image_facts(items: list[PromptItem], folder: RunFolder, images: ImageSet, sampler: SamplerConfig) -> dict:
    """The fields of a record about the `images` of a run. RunError if some are missing or do not decode."""
    check = verify(items, folder.images, (sampler.width, sampler.height))
    if not check.complete:
        gone = [*check.missing, *check.broken]
        raise RunError(
            f"run {folder.run_id} misses {len(gone)} of its {len(items)} images after generation (first: {gone[0]}); "
            "run it again"
        )
    keys = {item.file: item.key for item in items}
    flagged = [("NaN", name) for name in check.nan] + [("constant", name) for name in check.constant]
    invalid = [{"key": keys[name], "why": why} for why, name in sorted(flagged, key=lambda pair: pair[1])]
    return {"n": len(items), "invalid": invalid, "foreign": list(check.foreign), "sha256": images.hash}


def _begun_before(items: list[PromptItem], folder: RunFolder, sampler: SamplerConfig) -> bool:
    """Whether an earlier start left images of this run, complete or not."""
    return len(verify(items, folder.images, (sampler.width, sampler.height)).missing) < len(items)


def _generate(
    row: Row, session: Session, folder: RunFolder, items: list[PromptItem], pipe: DiffusionPipeline, on_pipe: Applied
) -> tuple[int, int]:
    """Generate missing images; returns the largest batch that one call of this process could hold, and their number."""
    sampler = on_pipe.sampling(row.sampler)
    report = generate(
        pipe,
        session.team.share(row.shard.items(items, sampler.batch_size), sampler.batch_size),
        folder.images,
        sampler,
        before_batch=on_pipe.set_seeds,
        after_batch=_checking_first(row.name, on_pipe),
        progress=session.progress,
    )
    return report.batch_size, len(report.made) + len(report.remade)


def _require(row: Row, folder: RunFolder, items: list[PromptItem], on_pipe: Applied) -> int:
    check = verify(items, folder.images, (row.sampler.width, row.sampler.height))
    batch_size = on_pipe.sampling(row.sampler).batch_size
    row.shard.require(items, [*check.missing, *check.broken], batch_size, folder.run_id)
    return batch_size


def _checking_first(name: str, on_pipe: Applied) -> Callable[[], None]:
    """A check after the first batch, rather than after hours, that the method merged something."""
    checked = False

    def after_batch() -> None:
        nonlocal checked
        if not checked:
            on_pipe.check(name)
        checked = True

    return after_batch


def _time(
    row: Row, session: Session, items: list[PromptItem], pipe: DiffusionPipeline, on_pipe: Applied, resumed: bool
) -> dict:
    prompts = [item.prompt for item in items]
    seeds, progress = on_pipe.set_seeds, session.progress
    timing = measure(pipe, row.sampler, row.timing, prompts=prompts, before_batch=seeds, progress=progress)
    return {**timing, "resumed": resumed, "by": code()}


def code() -> dict:
    """Code version and date of a part of the work that may be done later than the rest."""
    provenance = collect(root=ROOT)
    return {key: provenance[key] for key in ("date", "git")}


def _has_worked(on_pipe: Applied) -> bool:
    return any(site["grid"] is not None for site in on_pipe.report())


def _probe(pipe: DiffusionPipeline, sampler: SamplerConfig, item: PromptItem, on_pipe: Applied) -> None:
    """Generate one image and discard it, for the report of a run whose images all exist."""
    on_pipe.set_seeds([item.seed])
    call_pipeline(pipe, [item.prompt], [item.seed], sampler)


def _attention(pipe: DiffusionPipeline, sampler: SamplerConfig, items: list[PromptItem], on_pipe: Applied) -> dict:
    """The attention kernels of one denoiser call for `items`; they have the run's batch size, so nothing is compiled.

    Call this last: afterwards `on_pipe` reports an aborted generation.
    """
    seeds = [item.seed for item in items]
    on_pipe.set_seeds(seeds)

    def generate() -> None:
        call_pipeline(pipe, [item.prompt for item in items], seeds, sampler)

    model = denoiser(pipe)
    kernels = first_call_attention(model, generate, sampler.device)
    return {"attention_kernel": kernels, "attention_dispatch": attention_dispatch(model)}


def _shard_facts(row: Row, made: int, batch_size: int) -> dict:
    generated = {"shard": row.shard.name, "images": made, "batch_size_drawn": batch_size}
    return {**generated, "device_name": device_name(row.sampler.device), "torch": torch.__version__, **code()}


def _provenance(row: Row, model: dict, sampler: SamplerConfig, batch_size: int, shards: list[dict]) -> dict:
    """`model`: facts on the model and its attention. `shards`: of parts generated by other jobs."""
    chosen = {
        key: getattr(sampler, key) for key in ("scheduler", "attention", "compile", "batch_size", "dtype", "device")
    }
    smallest = min(batch_size, sampler.batch_size, *(shard["batch_size_drawn"] for shard in shards))
    facts = {**chosen, "batch_size_drawn": smallest, **model, **({"shards": shards} if shards else {})}
    return collect(root=ROOT, device=row.sampler.device, dtype=row.sampler.dtype, run=facts)
