"""The launcher `hydra/launcher=slurm`. Hydra finds launchers in this package only; see scripts/jobs/slurm.py."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class SlurmLauncher(Launcher):
    """Runs the jobs of a sweep as a Slurm array, waits for all of them, then for one job that closes their runs.

    Options: conf/hydra/launcher/slurm.yaml.
    """

    def __init__(self, **options: Any) -> None:
        self.options = {key: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for key, v in options.items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Arguments that Hydra passes to every launcher before `launch`."""
        self.given = {"hydra_context": hydra_context, "task_function": task_function, "config": config}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit and wait. A job without a result gets an empty return and is reported; it stops no other."""
        # Hydra imports this file at every start, also if Slurm and submitit are not used.
        from scripts.jobs.slurm import launch

        jobs = [(initial_job_idx + place, list(overrides)) for place, overrides in enumerate(job_overrides)]
        return launch(self.options, self.given, jobs)
