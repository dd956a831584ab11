"""The choice of a model, checked before anything is imported that can load it."""

import dataclasses

KINDS = ("hub", "shipped", "random", "tiny")
ARCHITECTURES = ("sd15", "sd21", "sdxl", "pixart", "sd3", "sd35_medium", "sd35_large", "flux")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Source of a pipeline.

    kind "hub": `repo` at `revision` from the Hugging Face hub, or the local folder `path` in its place (written by
    `save_pretrained`, or a hub snapshot); safetensors only. `variant`: such as "fp16".
    kind "shipped": the folder `path` in eval/assets; `revision` is the sha256 over its files (`folder_sha256`), so
    that the weights are part of a run's name.
    kind "random": `architecture` ("sd15" | "sd21" | "sdxl" | "pixart" | "sd3" | "sd35_medium" | "sd35_large" | "flux")
    at full size (except T5, see `eval.generation.models.random_pipelines`), random weights from `seed`, no download.
    kind "tiny": the embedded 64 px pipeline, random weights from `seed`.
    """

    name: str
    kind: str = "hub"
    repo: str | None = None
    revision: str | None = None
    path: str | None = None
    variant: str | None = None
    architecture: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"model.name must be a text, got {self.name!r}")
        if self.kind not in KINDS:
            raise ValueError(f"model.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.kind == "hub" and not self.path and not (self.repo and self.revision):
            raise ValueError(
                f"model {self.name!r} of kind hub needs repo and revision, or path, "
                f"got repo={self.repo!r}, revision={self.revision!r}"
            )
        if self.kind == "shipped" and not (self.path and self.revision):
            raise ValueError(
                f"model {self.name!r} of kind shipped needs path and revision, got path={self.path!r}, "
                f"revision={self.revision!r}"
            )
        if self.kind == "random" and self.architecture not in ARCHITECTURES:
            raise ValueError(f"model.architecture must be one of {', '.join(ARCHITECTURES)}, got {self.architecture!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise ValueError(f"model.seed must be an integer in [0, 2**32), got {self.seed!r}")
