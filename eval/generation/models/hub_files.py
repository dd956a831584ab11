"""The files of a hub repository that a pipeline needs: which they are, whether they are cached, and their download.

Weights are safetensors, of the requested variant where a component has it. The safety checker is never loaded.
"""

import inspect
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from eval.downloads import hub
from eval.downloads.hub import Listing, RemoteFile, Repository
from eval.errors import RunError

INDEX = "model_index.json"
NEVER_LOADED = ("safety_checker",)
SETTINGS = (".json", ".txt", ".model")  # files that configure a component, a tokenizer or a scheduler
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.(?P<a>\w+))?(?:-\d{5}-of-\d{5})?(?:\.(?P<b>\w+))?\.safetensors"
)


class HubModel(Protocol):
    """The fields of `eval.generation.models.config.ModelConfig` that identify a repository."""

    @property
    def name(self) -> str: ...
    @property
    def repo(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...


def repository(model: HubModel) -> Repository:
    """The hub repository of a model of kind "hub" without a local path."""
    return Repository(
        model.repo,
        model.revision,
        subject=f"model {model.name}: cannot get {model.repo} at revision {model.revision} from the Hugging Face hub",
        way_out="copy the pipeline's folder to this machine and set model.path=FOLDER",
    )


def pipeline_folder(repository: Repository, variant: str | None) -> Path:
    """The snapshot with every file of the pipeline, after downloading missing ones. RunError: the reason."""
    folder = cached_pipeline(repository, variant)
    if folder is not None:
        return folder
    listed = hub.listing(repository)
    folder = hub.download(repository, listed, _present(listed, [INDEX], repository))
    return hub.download(repository, listed, wanted(listed.files, _components(folder), variant))


def denoiser_configs(repository: Repository, denoisers: Iterable[str]) -> Path:
    """A snapshot with at least the index and the denoiser's configuration. RunError: the reason there is none."""
    folder = hub.snapshot(repository)
    here = hub.names_in(folder) if folder is not None else set()
    if INDEX in here and any(f"{name}/config.json" in here for name in denoisers):
        return folder
    listed = hub.listing(repository)
    configs = [f"{name}/config.json" for name in denoisers if f"{name}/config.json" in listed.files]
    return hub.download(repository, listed, _present(listed, [INDEX], repository) + configs)


def cached_pipeline(repository: Repository, variant: str | None) -> Path | None:
    """The cached snapshot if it has every file of the pipeline, otherwise None. Downloads nothing."""
    folder = hub.snapshot(repository)
    if folder is None or not (folder / INDEX).is_file():
        return None
    components, here = _components(folder), hub.names_in(folder)
    listed = hub.known_names(repository)
    if listed is not None:
        return folder if wanted(listed, components, variant) <= here else None
    return folder if all(_holds(name, here, variant) for name in components) else None


def files_to_come(repository: Repository, variant: str | None) -> list[RemoteFile]:
    """The files that `pipeline_folder` would download, by the hub's listing. Downloads nothing. RunError: why not."""
    listed = hub.listing(repository)
    folder = hub.snapshot(repository)
    indexed = folder is not None and (folder / INDEX).is_file()
    components = _components(folder) if indexed else _components_of(listed)
    names = sorted({*wanted(listed.files, components, variant), *_present(listed, [INDEX], repository)})
    return hub.missing_files(repository, listed, names)


def wanted(names: Iterable[str], components: Iterable[str], variant: str | None) -> set[str]:
    """Those of `names` in a repository that a pipeline of these components is loaded from."""
    names, found = set(names), {INDEX}
    for component in components:
        inside = {name for name in names if name.startswith(f"{component}/") and name.count("/") == 1}
        found |= {name for name in inside if name.endswith(SETTINGS)} | _weights(inside, variant)
    return found


def _weights(inside: set[str], variant: str | None) -> set[str]:
    """The weight files of a component: one file or all shards, of the variant if it is available."""
    matches = {name: _WEIGHTS.fullmatch(name.rpartition("/")[2]) for name in inside}
    kinds = {name: match["a"] or match["b"] for name, match in matches.items() if match}
    chosen = {name for name, kind in kinds.items() if kind == variant}
    chosen = chosen or {name for name, kind in kinds.items() if kind is None}
    single = {name for name in chosen if "-of-" not in name}
    return single or chosen


def _holds(component: str, here: set[str], variant: str | None) -> bool:
    """Whether a component is complete, judged by its own files: a model needs weights with all of their shards."""
    inside = {name for name in here if name.startswith(f"{component}/") and name.count("/") == 1}
    weights = _weights(inside, variant)
    needs_weights = f"{component}/config.json" in inside
    return bool(inside) and (bool(weights) or not needs_weights) and not hub.lacking_shards(weights)


def _components(folder: Path) -> list[str]:
    """The components that the index names with a class, in its order, without those that are never loaded."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except ValueError as error:
        hub.check_files([folder / INDEX])
        raise RunError(f"{folder / INDEX} is not valid JSON ({error}); delete it and run again") from error
    parts = {name: value for name, value in index.items() if isinstance(value, list) and len(value) == 2}
    return [name for name, value in parts.items() if name not in NEVER_LOADED and None not in value]


def _components_of(listed: Listing) -> list[str]:
    """The components if the index is not cached: of the class that the hub reports, or every folder."""
    folders = sorted({name.partition("/")[0] for name in listed.files if name.count("/") == 1} - set(NEVER_LOADED))
    import diffusers  # imported late: looking at the cache must be fast

    kind = getattr(diffusers, listed.pipeline or "", None)
    if kind is None:
        return folders
    return [name for name in inspect.signature(kind.__init__).parameters if name in folders]


def _present(listed: Listing, names: list[str], repository: Repository) -> list[str]:
    for name in names:
        if name not in listed.files:
            raise RunError(f"{repository.subject} (it has no {name}); it must be a diffusers pipeline")
    return names
