"""How many steps of plain sampling cost what a method costs, found by timing both."""

import dataclasses

from eval.errors import RunError
from eval.generation.sampler import SamplerConfig
from eval.run.row import Row
from eval.speed.measuring import measure
from scripts.jobs.patching import applied
from scripts.jobs.session import Session


@dataclasses.dataclass(frozen=True)
class EqualTime:
    """The result. Seconds are medians per image at batch 1.

    method: of the method at all `asked` steps. plain: of plain sampling at all steps. steps: those that cost as much as
    the method. seconds: of plain sampling at that number of steps, measured.
    """

    asked: int
    steps: int
    method: float
    plain: float
    seconds: float

    @property
    def share(self) -> float:
        """The option of `fewer_steps`."""
        return round(self.steps / self.asked, 4)

    @property
    def facts(self) -> dict[str, float]:
        """The saved fields."""
        return {"share": self.share, **dataclasses.asdict(self)}


def equal_time(row: Row, session: Session) -> EqualTime:
    """Time the row's method and plain sampling. RunError if the method is not faster than all steps."""
    asked = row.sampler.steps
    if asked < 2:
        raise RunError(f"sampler.steps must be at least 2 to leave steps out, got {asked}")
    half = asked // 2
    long = _seconds(row, session, asked)
    method = _seconds(row, session, asked, row.method)
    short = _seconds(row, session, half)
    if method >= long:
        raise RunError(
            f"method {row.name} takes {method:.4g} s per image and plain sampling {long:.4g} s; "
            "no smaller step count costs as much"
        )
    steps = matching_steps(asked, long, half, short, method)
    return EqualTime(asked, steps, method, long, _seconds(row, session, steps))


def matching_steps(asked: int, long: float, half: int, short: float, wanted: float) -> int:
    """The number of steps nearest to `wanted` seconds on the line through (asked, long) and (half, short)."""
    slope = (long - short) / (asked - half)
    if slope <= 0:
        raise RunError(
            f"{asked} steps took {long:.4g} s and {half} steps {short:.4g} s; "
            "the machine is too busy for a stable timing, raise timing.images"
        )
    return min(max(round(asked - (long - wanted) / slope), 1), asked)


def summary(name: str, found: EqualTime) -> str:
    """The result in one line, with the command that uses it."""
    return (
        f"{name} takes {found.method:.4g} s per image at {found.asked} steps; plain sampling {found.plain:.4g} s, "
        f"and {found.seconds:.4g} s at {found.steps} steps: "
        f"python -m scripts.run method=fewer_steps method.share={found.steps / found.asked:.6g}, "
        "with this model and sampler"
    )


def _seconds(row: Row, session: Session, steps: int, method: object = None) -> float:
    """Median seconds per image at batch 1."""
    sampler: SamplerConfig = dataclasses.replace(row.sampler, steps=steps)
    timing = dataclasses.replace(row.timing, batch_sizes=())
    pipe = session.pipeline(row.model, row.sampler)
    prompts = [item.prompt for item in row.prompts.items()[: timing.images]]
    if method is None:
        return measure(pipe, sampler, timing, prompts=prompts)["s_per_im"]
    with applied(pipe, method, row.backend) as on_pipe:
        found = measure(pipe, sampler, timing, prompts=prompts, before_batch=on_pipe.set_seeds)["s_per_im"]
        on_pipe.check(row.name)
    return found
