"""A sweep on Slurm: an array of jobs, optionally split into shards, then one job that closes the runs.

submitit submits. Waiting is done here: submitit asks `sacct`, which a cluster without accounting does not have, and
stops at the first job without a result.
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
from eval.generation.shards import CLOSE
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

Numbered = tuple[int, list[str]]  # a job of the sweep: its index and its overrides


@dataclasses.dataclass(frozen=True)
class Work:
    """The callable of a Slurm job, with the jobs of the sweep that it runs. Submitted as a pickle."""

    launcher: Any  # submitit's launcher, which composes a job and runs it
    state: dict

    def __call__(self, jobs: Sequence[Numbered]) -> list[JobReturn]:
        """Run `jobs` in turn; several tasks of one Slurm job share the images of each, as under `accelerate launch`."""
        import submitit

        if submitit.JobEnvironment().num_tasks > 1:
            submitit.helpers.TorchDistributedEnvironment().export()
        return [self.launcher(list(parts), "hydra.sweep.dir", number, "", self.state) for number, parts in jobs]

    def checkpoint(self, jobs: Sequence[Numbered]) -> Any:
        """The work to queue again at the time limit: the same work, which resumes its runs."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, jobs)


@dataclasses.dataclass(frozen=True)
class Submitted:
    """A job in the queue: submitit's handle, and the jobs of the sweep that it runs."""

    handle: Any
    jobs: Sequence[Numbered]

    @property
    def id(self) -> str:
        """Slurm's id: "17_3", or "17" if it is not part of an array."""
        return self.handle.job_id

    def has_result(self) -> bool:
        """Whether every task has left a result. Touches its folder first, so that a network disk refreshes."""
        paths = [self.handle.task(task).paths.result_pickle for task in range(self.handle.num_tasks)]
        for folder in {path.parent for path in paths if path.parent.is_dir()}:
            os.utime(folder)
        return all(path.exists() for path in paths)


def launch(options: dict, given: dict, jobs: Sequence[Numbered]) -> list[JobReturn]:
    """Run `jobs` on Slurm and wait for them. Returns one result for each, in order; lost jobs are reported.

    options: those of conf/hydra/launcher/slurm.yaml. given: hydra_context, task_function and config of the sweep.
    RunError: submitit or Slurm is not available, or Slurm rejects the jobs.
    """
    queue = {key: value for key, value in options.items() if key not in OURS}
    work, shards = Work(_launcher(queue, given), Singleton.get_state()), options["shards"]
    submitted = _submit(work, queue, [[job] for job in _split(jobs, shards)])
    ids = [submitted[0].id.split("_")[0]]
    if options["close"] or shards > 1:
        try:
            submitted += _submit(work, _after(queue, ids[0]), [_closing(jobs, shards)])
        except RunError:
            subprocess.run(["scancel", *ids], check=False)  # without its last job the array would be orphaned
            raise
        ids.append(submitted[-1].id)
    logs = Path(str(queue["submitit_folder"]).replace("%j", "JOB"))
    count = f"{len(submitted)} job{'s' * (len(submitted) > 1)}"
    say(f"submitted {count} to Slurm as {' and '.join(ids)}; their logs: {logs}")
    try:
        lost = _wait(submitted, options["poll_s"], options["patience_s"])
    except KeyboardInterrupt:
        say(f"the jobs continue in the queue; cancel them with `scancel {' '.join(ids)}`")
        raise
    for each, state in lost:
        _report_job(each, f"ended without a result ({state})")
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


def _split(jobs: Sequence[Numbered], shards: int) -> list[Numbered]:
    if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:
        raise RunError(f"hydra.launcher.shards must be an integer of at least 1, got {shards!r}")
    swept = next((part for _, overrides in jobs for part in overrides if part.startswith("shard.")), None)
    if swept:
        raise RunError(f"hydra/launcher=slurm splits the runs itself: set hydra.launcher.shards=N, without {swept}")
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
    """The options of the closing job: it starts when every job of the array has ended, successfully or not."""
    more = {**(queue["additional_parameters"] or {}), "dependency": f"afterany:{job_id}"}
    return {**queue, "additional_parameters": more}


def _submit(work: Work, queue: dict, parts: list[Sequence[Numbered]]) -> list[Submitted]:
    """Submit one Slurm job for each of `parts`, several as one array. RunError: Slurm rejects them."""
    import submitit

    queue = {key: value for key, value in queue.items() if value is not None}
    folder, retries = queue.pop("submitit_folder"), queue.pop("max_num_timeout")
    options = {key if key in (*GENERAL, "stderr_to_stdout") else f"slurm_{key}": queue[key] for key in queue}
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=retries)
        executor.update_parameters(**options)
        handles = executor.map_array(work, parts)
    except RuntimeError as error:  # raised by submitit for a missing Slurm and for a rejected job
        why = " ".join(str(error).split())
        raise RunError(
            f"Slurm accepts no jobs ({why}); submit where `sbatch` works, or run here without hydra/launcher=slurm"
        ) from error
    return [Submitted(handle, jobs) for handle, jobs in zip(handles, parts, strict=True)]


def _wait(submitted: Sequence[Submitted], poll: float, patience: float) -> list[tuple[Submitted, str]]:
    """Wait until every job has left a result or the queue. Returns jobs without a result, with their last state."""
    waiting, lost = list(submitted), []
    ended: dict[str, float] = {}  # when a job was first seen to have ended
    troubled = False
    while waiting := [each for each in waiting if not each.has_result()]:
        states, trouble = _queue()
        if trouble and not troubled:
            say(f"the queue cannot be queried ({trouble}); waiting continues")
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
    """The state of this user's jobs known to Slurm, by id; and an error message if the query failed."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        return {}, " ".join((getattr(error, "stderr", None) or str(error)).split())
    return dict(line.strip().split("|") for line in lines), ""


def _returns(jobs: Sequence[Numbered], ended: Sequence[Submitted]) -> list[JobReturn]:
    """One result for each job: the last one left by a Slurm job, or an empty one."""
    found = {number: JobReturn(overrides=overrides, status=JobStatus.COMPLETED) for number, overrides in jobs}
    for each in ended:
        try:
            values = each.handle.results()[0]
        except RuntimeError as error:  # from submitit, for errors outside of the job's runs
            last = next((line for line in reversed(str(error).splitlines()) if "Error" in line), str(error))
            _report_job(each, f"failed: {last.strip()}")
        else:
            found |= {number: value for (number, _), value in zip(each.jobs, values, strict=True)}
    return [found[number] for number, _ in jobs]


def _report_job(each: Submitted, what: str) -> None:
    jobs = " ".join(each.jobs[0][1]) if len(each.jobs) == 1 else f"the job that closes {len(each.jobs)} runs"
    say(f"Slurm job {each.id} {what}: {jobs}; its log: {each.handle.paths.stderr}")
