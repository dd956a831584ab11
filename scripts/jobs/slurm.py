"""A sweep on Slurm: an array of jobs, cut into shards where wanted, then one job that closes the runs they drew.

Submission is submitit's. Waiting is not: it asks `sacct`, which a cluster without accounting does not have, and stops
at the first job that gave no result.
"""

import dataclasses
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus

from eval.errors import RunError
from eval.shards import CLOSE
from scripts.command_line.entry import say

OURS = ("shards", "close", "poll_s", "patience_s")
GENERAL = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
ENDED = (
    "CANCELLED",
    "COMPLETED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
    "REVOKED",
)

Numbered = tuple[int, list[str]]  # a job of the sweep: its place, and its overrides


@dataclasses.dataclass(frozen=True)
class Work:
    """What a Slurm job calls, with the jobs of the sweep that it is to run. Submitted as a pickle."""

    launcher: Any  # submitit's own, which composes a job and runs it
    state: dict

    def __call__(self, jobs: Sequence[Numbered]) -> list[JobReturn]:
        """Run `jobs` in turn; several tasks of one Slurm job share the images of each, as under `accelerate launch`."""
        import submitit

        if submitit.JobEnvironment().num_tasks > 1:
            submitit.helpers.TorchDistributedEnvironment().export()
        return [self.launcher(list(parts), "hydra.sweep.dir", number, "", self.state) for number, parts in jobs]

    def checkpoint(self, jobs: Sequence[Numbered]) -> Any:
        """What is queued again at the time limit: the same work, which takes up its runs where they are."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, jobs)


@dataclasses.dataclass(frozen=True)
class Submitted:
    """A job in the queue: submitit's handle on it, and the jobs of the sweep that it runs."""

    handle: Any
    jobs: Sequence[Numbered]

    @property
    def id(self) -> str:
        """Slurm's id: "17_3", or "17" where it is no part of an array."""
        return self.handle.job_id

    def has_result(self) -> bool:
        """Whether every task has left a result. Its folder is touched first, so that a network disk looks again."""
        paths = [self.handle.task(task).paths.result_pickle for task in range(self.handle.num_tasks)]
        for folder in {path.parent for path in paths if path.parent.is_dir()}:
            os.utime(folder)
        return all(path.exists() for path in paths)


def launch(options: dict, given: dict, jobs: Sequence[Numbered]) -> list[JobReturn]:
    """Run `jobs` on Slurm and wait for them. Returns one result for each, in order; what is lost is told of.

    options: those of conf/hydra/launcher/slurm.yaml. given: hydra_context, task_function and config of the sweep.
    RunError: submitit or Slurm is not there, or Slurm refuses the jobs.
    """
    queue = {key: value for key, value in options.items() if key not in OURS}
    work, shards = Work(_launcher(queue, given), Singleton.get_state()), options["shards"]
    submitted = _submit(work, queue, [[job] for job in _cut(jobs, shards)])
    ids = [submitted[0].id.split("_")[0]]
    if options["close"] or shards > 1:
        try:
            submitted += _submit(work, _after(queue, ids[0]), [_closing(jobs, shards)])
        except RunError:
            subprocess.run(["scancel", *ids], check=False)  # without its last job the array would go on unseen
            raise
        ids.append(submitted[-1].id)
    logs = Path(str(queue["submitit_folder"]).replace("%j", "JOB"))
    count = f"{len(submitted)} job{'s' * (len(submitted) > 1)}"
    say(f"submitted {count} to Slurm as {' and '.join(ids)}; their logs: {logs}")
    try:
        lost = _wait(submitted, options["poll_s"], options["patience_s"])
    except KeyboardInterrupt:
        say(f"the jobs go on in the queue; `scancel {' '.join(ids)}` ends them")
        raise
    for each, state in lost:
        _tell(each, f"ended without a result ({state})")
    return _returns(jobs, [each for each in submitted if all(each is not other for other, _ in lost)])


def _launcher(queue: dict, given: dict) -> Any:
    try:
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
    except ImportError as error:
        raise RunError(
            "hydra/launcher=slurm needs the extra cluster: pip install -c constraints.txt -e '.[bench,cluster]'"
        ) from error
    launcher = SlurmLauncher(**queue)
    launcher.setup(**given)
    return launcher


def _cut(jobs: Sequence[Numbered], shards: int) -> list[Numbered]:
    if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:
        raise RunError(f"hydra.launcher.shards must be an integer of at least 1, got {shards!r}")
    swept = next((part for _, overrides in jobs for part in overrides if part.startswith("shard.")), None)
    if swept:
        raise RunError(f"hydra/launcher=slurm cuts the runs itself: hydra.launcher.shards=N, without {swept}")
    if shards == 1:
        return list(jobs)
    return [
        (number, [*overrides, f"shard.count={shards}", f"shard.index={index}"])
        for number, overrides in jobs
        for index in range(shards)
    ]


def _closing(jobs: Sequence[Numbered], shards: int) -> list[Numbered]:
    return [(number, [*overrides, f"shard.count={shards}", f"shard.index={CLOSE}"]) for number, overrides in jobs]


def _after(queue: dict, job_id: str) -> dict:
    """The options of the job that closes: it starts when every job of the array has ended, however."""
    more = {**(queue["additional_parameters"] or {}), "dependency": f"afterany:{job_id}"}
    return {**queue, "additional_parameters": more}


def _submit(work: Work, queue: dict, parts: list[Sequence[Numbered]]) -> list[Submitted]:
    """Submit one Slurm job for each of `parts`, several as one array. RunError: Slurm does not take them."""
    import submitit

    queue = {key: value for key, value in queue.items() if value is not None}
    folder, retries = queue.pop("submitit_folder"), queue.pop("max_num_timeout")
    options = {key if key in (*GENERAL, "stderr_to_stdout") else f"slurm_{key}": queue[key] for key in queue}
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=retries)
        executor.update_parameters(**options)
        handles = executor.map_array(work, parts)
    except RuntimeError as error:  # of submitit, for an absent Slurm as for one that refuses
        why = " ".join(str(error).split())
        raise RunError(
            f"Slurm takes no jobs ({why}); submit where `sbatch` works, or run here without hydra/launcher=slurm"
        ) from error
    return [Submitted(handle, jobs) for handle, jobs in zip(handles, parts, strict=True)]


def _wait(submitted: Sequence[Submitted], poll: float, patience: float) -> list[tuple[Submitted, str]]:
    """Until every job has left a result or, without one, the queue. Returns the latter, each with its last state."""
    waiting, lost = list(submitted), []
    ended: dict[str, float] = {}  # when a job was first seen to be over
    troubled = False
    while waiting := [each for each in waiting if not each.has_result()]:
        states, trouble = _queue()
        if trouble and not troubled:
            say(f"the queue cannot be asked ({trouble}); waiting goes on")
        troubled = bool(trouble)
        for each in [] if trouble else waiting:
            state = states.get(each.id, "no longer in the queue")
            if each.id in states and not state.startswith(ENDED):
                ended.pop(each.id, None)  # queued again
            elif time.monotonic() - ended.setdefault(each.id, time.monotonic()) >= patience:
                lost.append((each, state))
        waiting = [each for each in waiting if all(each is not other for other, _ in lost)]
        time.sleep(poll if waiting else 0)
    return lost


def _queue() -> tuple[dict[str, str], str]:
    """The state of this user's jobs that Slurm still knows of, by id; or why it could not be asked."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        return {}, " ".join((getattr(error, "stderr", None) or str(error)).split())
    return dict(line.strip().split("|") for line in lines), ""


def _returns(jobs: Sequence[Numbered], ended: Sequence[Submitted]) -> list[JobReturn]:
    """One result for each job: the last that a Slurm job left, or an empty one."""
    found = {number: JobReturn(overrides=overrides, status=JobStatus.COMPLETED) for number, overrides in jobs}
    for each in ended:
        try:
            values = each.handle.results()[0]
        except RuntimeError as error:  # submitit's, for what the job raised outside of its runs
            last = next((line for line in reversed(str(error).splitlines()) if "Error" in line), str(error))
            _tell(each, f"failed: {last.strip()}")
        else:
            found |= {number: value for (number, _), value in zip(each.jobs, values, strict=True)}
    return [found[number] for number, _ in jobs]


def _tell(each: Submitted, what: str) -> None:
    jobs = " ".join(each.jobs[0][1]) if len(each.jobs) == 1 else f"the job that closes {len(each.jobs)} runs"
    say(f"Slurm job {each.id} {what}: {jobs}; its log: {each.handle.paths.stderr}")
