"""What the jobs of one call share: the processes, the last pipeline and the last reference."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from diffusers import DiffusionPipeline

from eval.pipelines import ModelConfig, load_pipeline
from eval.progress import Progress
from eval.prompts import ImageClass
from eval.reference import ReferenceConfig, ReferenceSet
from eval.sampler import SamplerConfig
from scripts.jobs.processes import Team


class Session:
    """Keeps one pipeline and one reference, those of the last job: a sweep over methods loads each once."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._team: Team | None = None
        self._pipeline: tuple[tuple, DiffusionPipeline] | None = None
        self._reference: tuple[tuple, ReferenceSet] | None = None

    def __reduce__(self) -> tuple:
        """A new session: what crosses to another process, as a job that is queued again, loads everything itself."""
        return Session, ()

    def join(self, device: str) -> None:
        """Meet the other processes of this launch; `device` is the first job's."""
        if self._team is None:
            self._team = Team(device)
            self._progress = Progress(enabled=self.speaks)
            if not self.speaks:  # every process reads the whole reference: what there is to say of it is said once
                logging.getLogger("eval.reference").setLevel(logging.ERROR)

    @property
    def team(self) -> Team:
        """The processes. RuntimeError before `join`."""
        if self._team is None:
            raise RuntimeError("Session.join was not called")
        return self._team

    @property
    def speaks(self) -> bool:
        """Whether this process tells the user how it goes: the main one alone."""
        return self._team is None or self._team.is_main

    @property
    def progress(self) -> Progress:
        """That of all jobs of this process. RuntimeError before `join`."""
        if self._progress is None:
            raise RuntimeError("Session.join was not called")
        return self._progress

    def pipeline(self, model: ModelConfig, sampler: SamplerConfig) -> DiffusionPipeline:
        """The pipeline of `model`, loaded anew only when model or sampler changed."""
        wanted = (model, sampler)
        if self._pipeline is None or self._pipeline[0] != wanted:
            self._pipeline = None  # the old one's memory goes before the new one's comes
            self._pipeline = (wanted, load_pipeline(model, sampler))
        return self._pipeline[1]

    def forget(self) -> None:
        """Drop what is kept: the next job loads everything anew."""
        self._pipeline = self._reference = None

    def reference(
        self,
        config: ReferenceConfig,
        classes: Sequence[ImageClass],
        cache: Path,
        load: Callable[[ReferenceConfig, Sequence[ImageClass], Path], ReferenceSet],
    ) -> ReferenceSet:
        """The reference images, read and hashed anew only when their configuration or the classes changed."""
        wanted = (config, tuple(classes), cache)
        if self._reference is None or self._reference[0] != wanted:
            self._reference = (wanted, load(config, classes, cache))
        return self._reference[1]
