"""The forecast of one row, for --dry-run: images, disk, hours, and what is missing."""

import dataclasses
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from eval.errors import RunError
from eval.generation.applied import Applied
from eval.generation.calls import call_pipeline
from eval.generation.images import verify
from eval.generation.memory import BatchLimit, fixed_batch, is_out_of_memory
from eval.generation.prompts import PromptItem
from eval.generation.sampler import SamplerConfig
from eval.records import RunFolder, has_record
from eval.run.faults import faults, reference_faults
from eval.run.needs import Sizes, needs
from eval.run.row import Row
from eval.speed.measuring import peak_memory
from eval.speed.timing import TimingConfig
from scripts.command_line.entry import is_user_error, say
from scripts.forecast.stand_in import CannotMeasureError, model_to_time
from scripts.jobs.patching import applied
from scripts.jobs.session import Session

FEW, MORE = 2, 6  # steps of the short calls, so that planning at the first step does not affect the slope
GIB = 1024**3


@dataclasses.dataclass(frozen=True)
class Measured:
    """Result of the short calls: time per image at all steps, the batch size that fits, peak bytes.

    by_random: measured with random weights of the model's architecture.
    """

    s_per_im: float
    batch_size: int
    peak_bytes: int
    by_random: bool = False


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Forecast of a row. there: existing images; bytes: of disk, at most; hours: None if unknown.

    unmeasured: why the hours are unknown.
    """

    name: str
    results: Path
    images: int
    there: int
    finished: bool
    bytes: int
    measured: Measured | None
    hours: float | None
    missing: tuple[str, ...]
    unmeasured: str = ""


def forecast(row: Row, session: Session, cache: Path, sizes: Sizes | None = None) -> Forecast:
    """Forecast one row: read its folder, and time its method on its model or on random weights."""
    items, folder = row.prompts.items(), row.folder
    name = f"{row.runs}/{row.name}-{row.hash}"
    say(f"{name}: {len(items)} images")
    there = _made_already(row, folder, items)
    done = has_record(folder) and there == len(items)
    sizes = sizes or Sizes()
    lacking = faults(row)
    lacking += [message for message in reference_faults(row, session.reference, cache) if message not in lacking]
    lacking += [sizes.message(need) for need in needs(row, with_model=not done)]
    if done:
        return Forecast(name, row.results, len(items), there, True, 0, None, 0.0, tuple(dict.fromkeys(lacking)))
    measured, why = None, ""
    try:
        measured = measure_shortly(row, session, items)
    except (RunError, ValueError, RuntimeError, MemoryError) as error:
        if not (is_user_error(error) or is_out_of_memory(error)):
            raise
        why = str(error) if is_user_error(error) else _too_large(row)
        if not isinstance(error, CannotMeasureError):
            lacking.append(why)
        session.forget()
    left = len(items) - there
    size = left * row.sampler.height * row.sampler.width * 3  # as the run itself requires: PNGs of noise
    hours = None if measured is None else _hours(row, measured, left, session.team.size)
    lacking = tuple(dict.fromkeys(lacking))
    return Forecast(name, row.results, len(items), there, False, size, measured, hours, lacking, why)


def measure_shortly(row: Row, session: Session, items: Sequence[PromptItem]) -> Measured:
    """Time a few steps of the row's method at its batch size, or at smaller ones until one fits into memory.

    RunError, naming the size that fits, if images depend on the batch. CannotMeasureError: nothing can be timed.
    """
    model = model_to_time(row)
    pipe, found = session.pipeline(model, row.sampler), {}
    with applied(pipe, row.method, row.backend) as on_pipe:
        sampler = on_pipe.sampling(row.sampler)
        size = min(sampler.batch_size, len(items))
        limit = BatchLimit(size)
        if sampler.device != "cpu":
            torch.cuda.reset_peak_memory_stats(sampler.device)

        def take(batch: Sequence[PromptItem]) -> None:
            if len(batch) not in found:
                found[len(batch)] = _seconds(pipe, sampler, batch, on_pipe) / len(batch)

        limit.work_through(items[:size], take)
        on_pipe.check(row.name)
    if limit.size < size and sampler.images_depend_on_batch:
        raise RunError(fixed_batch(size, sampler.dtype, limit.size))
    peak = next(iter(peak_memory(sampler.device).values()))
    return Measured(found[max(found)], max(found), peak, model.kind == "random" and row.model.kind != "random")


def render(forecasts: Sequence[Forecast], lacking: Sequence[str]) -> str:
    """The table and the list of missing things, as text."""
    lines = [f"{'images':>7} {'to make':>7} {'disk GiB':>9} {'s/im':>9} {'batch':>5} {'peak GiB':>8} {'hours':>8}  row"]
    for one in forecasts:
        lines.append(f"{_cells(one)}  {one.name}{'  already finished' if one.finished else ''}")
    known = [one.hours for one in forecasts if one.hours is not None]
    unknown = f"{len(forecasts) - len(known)} rows that cannot be forecast"
    hours = f"{sum(known):.2f} hours" if known else f"hours of {unknown}"
    if known and len(known) < len(forecasts):
        hours += f" and {unknown}"
    total = sum(one.bytes for one in forecasts) / GIB
    images = sum(one.images - one.there for one in forecasts)
    lines.append(
        f"{len(forecasts)} rows, {images} images to make, at most {total:.2f} GiB of disk, {hours}, without scoring"
    )
    by_random = sum(one.measured is not None and one.measured.by_random for one in forecasts)
    if by_random:
        lines.append(f"timed with random weights, as the model's are not on this machine: {by_random} rows")
    unmeasured = _counted([[one.unmeasured] for one in forecasts if one.unmeasured], len(forecasts))
    return "\n".join(
        [*lines, *(f"not timed: {why}" for why in unmeasured), *(f"missing: {message}" for message in lacking)]
    )


def _cells(one: Forecast) -> str:
    measured = one.measured
    speed, batch, peak = ("-", "-", "-")
    if measured is not None:
        speed, batch, peak = f"{measured.s_per_im:.4g}", measured.batch_size, f"{measured.peak_bytes / GIB:.2f}"
    hours = "-" if one.hours is None else f"{one.hours:.2f}"
    left = one.images - one.there
    return f"{one.images:>7} {left:>7} {one.bytes / GIB:>9.3f} {speed:>9} {batch:>5} {peak:>8} {hours:>8}"


def _seconds(pipe: object, sampler: SamplerConfig, batch: Sequence[PromptItem], on_pipe: Applied) -> float:
    """Seconds of one call with all steps, extrapolated from calls of `FEW` and `MORE` steps."""
    few, more = min(FEW, sampler.steps), min(MORE, sampler.steps)
    _call(pipe, sampler, few, batch, on_pipe)  # warm-up, and compilation if requested
    short = _call(pipe, sampler, few, batch, on_pipe)
    if more == few:
        return short
    long = _call(pipe, sampler, more, batch, on_pipe)
    return max(long, short + (long - short) / (more - few) * (sampler.steps - few))


def _call(pipe: object, sampler: SamplerConfig, steps: int, batch: Sequence[PromptItem], on_pipe: Applied) -> float:
    seeds = [item.seed for item in batch]
    on_pipe.set_seeds(seeds)
    if sampler.device != "cpu":
        torch.cuda.synchronize(sampler.device)
    began = time.perf_counter()
    call_pipeline(pipe, [item.prompt for item in batch], seeds, dataclasses.replace(sampler, steps=steps))
    if sampler.device != "cpu":
        torch.cuda.synchronize(sampler.device)
    return time.perf_counter() - began


def _hours(row: Row, measured: Measured, images: int, processes: int) -> float:
    return measured.s_per_im * (images / processes + _timed_images(row.timing)) / 3600


def _timed_images(timing: TimingConfig) -> int:
    if not timing.enabled:
        return 0
    return sum(size * (timing.warmup + math.ceil(timing.images / size)) for size in timing.shapes)


def _made_already(row: Row, folder: RunFolder, items: list[PromptItem]) -> int:
    if not folder.images.is_dir():
        return 0
    return verify(items, folder.images, row.sampler.size).intact


def _too_large(row: Row) -> str:
    return f"the memory of {row.sampler.device} is too small for model {row.model.name} in {row.sampler.dtype}"


def lacking_for(forecasts: Sequence[Forecast]) -> list[str]:
    """Everything that the rows lack, each thing once, and the disk that all of them together need."""
    return [*_counted([one.missing for one in forecasts], len(forecasts)), *_space(forecasts)]


def _counted(errors: Sequence[Sequence[str]], rows: int) -> list[str]:
    """Each message once, with the number of rows it stops if there are several."""
    numbers: dict[str, int] = {}
    for message in (message for messages in errors for message in messages):
        numbers[message] = numbers.get(message, 0) + 1
    return [message if rows == 1 else f"{message} ({number} rows)" for message, number in numbers.items()]


def _space(forecasts: Sequence[Forecast]) -> list[str]:
    results = forecasts[0].results
    there = next(place for place in (results, *results.absolute().parents) if place.exists())
    needed, free = sum(one.bytes for one in forecasts) / GIB, shutil.disk_usage(there).free / GIB
    return [] if needed <= free else [f"{needed:.2f} GiB of disk, and {there} has {free:.2f} GiB free"]
