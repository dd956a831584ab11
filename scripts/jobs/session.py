"""State shared by the jobs of one command: the processes, the last pipeline and the last reference."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eval.generation.models.config import ModelConfig
from eval.generation.prompts import ImageClass
from eval.generation.sampler import SamplerConfig
from eval.progress import Progress
from eval.reference import ReferenceConfig, ReferenceSet
from scripts.jobs.processes import Team

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class Session:
    """Caches the pipeline and reference of the last job: a sweep over methods loads each once."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._team: Team | None = None
        self._pipeline: tuple[tuple, DiffusionPipeline] | None = None
        self._reference: tuple[tuple, ReferenceSet] | None = None

    def __reduce__(self) -> tuple:
        """A new session: another process, such as a requeued job, loads everything itself."""
        return Session, ()

    def join(self, device: str) -> None:
        """Join the other processes of this launch; `device` is the first job's."""
        if self._team is None:
            self._team = Team(device)
            self._progress = Progress(enabled=self.speaks)
            if not self.speaks:  # every process reads the whole reference, but only one reports on it
                logging.getLogger("eval.reference").setLevel(logging.ERROR)

    @property
    def team(self) -> Team:
        """The processes. RuntimeError before `join`."""
        if self._team is None:
            raise RuntimeError("Session.join was not called")
        return self._team

    @property
    def speaks(self) -> bool:
        """Whether this process prints progress: only the main process does."""
        return self._team is None or self._team.is_main

    @property
    def progress(self) -> Progress:
        """The progress of all jobs of this process. RuntimeError before `join`."""
        if self._progress is None:
            raise RuntimeError("Session.join was not called")
        return self._progress

    def pipeline(self, model: ModelConfig, sampler: SamplerConfig) -> "DiffusionPipeline":
        """The pipeline of `model`, loaded again only if model or sampler changed."""
        wanted = (model, sampler)
        if self._pipeline is None or self._pipeline[0] != wanted:
            from eval.generation.pipelines import load_pipeline  # imports torch: only for a row that is right

            self._pipeline = None  # frees its memory before the new one is loaded
            self._pipeline = (wanted, load_pipeline(model, sampler))
        return self._pipeline[1]

    def forget(self) -> None:
        """Clear the cache: the next job loads everything again."""
        self._pipeline = self._reference = None

    def reference(self, config: ReferenceConfig, classes: Sequence[ImageClass], cache: Path) -> ReferenceSet:
        """The reference images, read and hashed again only if their configuration or the classes changed."""
        wanted = (config, tuple(classes), cache)
        if self._reference is None or self._reference[0] != wanted:
            from eval.reference.loading import load_reference  # imports torch: only for a row that is right

            self._reference = (wanted, load_reference(config, classes, cache))
        return self._reference[1]
