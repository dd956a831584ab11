"""The downloads of a row, their sizes, and whether there is room for them. Nothing is downloaded."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eval.downloads import hub
from eval.downloads.causes import cause_of, offline_variable
from eval.downloads.fetching import require_space
from eval.downloads.hub import Repository
from eval.downloads.progress import readable
from eval.downloads.weights import HubFile, WeightFile, weights_folder
from eval.errors import RunError
from eval.generation.models.config import ModelConfig
from eval.generation.models.hub_files import cached_pipeline, files_to_come, repository
from eval.reference.sources import cached_validation, hub_reference, validation_to_come
from eval.run.row import Row


@dataclasses.dataclass(frozen=True)
class Need:
    """One download of a row. what: a message on what is missing; server, folder: source and destination.

    size: returns the bytes to download, None if the server does not report them. RunError: why it is not available.
    """

    what: str
    server: str
    folder: Path
    size: Callable[[], int | None]


class Sizes:
    """Sizes of downloads, each requested once. A server that did not respond is not asked again."""

    def __init__(self) -> None:
        self._known: dict[str, int | RunError | None] = {}
        self._silent: dict[str, str] = {}

    def of(self, need: Need) -> int | None:
        """Bytes to download; None if the server does not report them. RunError: why it is not available."""
        if need.what not in self._known:
            self._known[need.what] = self._ask(need)
        known = self._known[need.what]
        if isinstance(known, RunError):
            raise known
        return known

    def message(self, need: Need) -> str:
        """What is missing, with its size or why the size is unknown; or why it is not available at all."""
        if offline_variable() is not None:
            return f"{need.what} (size not known: offline)"
        try:
            size = self.of(need)
        except RunError as error:
            why = self._silent.get(need.server)
            return f"{need.what} (size not known: {why})" if why else str(error)
        return f"{need.what} ({'size not reported by the server' if size is None else readable(size)})"

    def obstacles(self, found: Sequence[Need]) -> list[str]:
        """A message for every download that is not available, and for every disk that is too small for them."""
        messages, sizes = [], {}
        for need in found:
            try:
                sizes[need.folder] = sizes.get(need.folder, 0) + (self.of(need) or 0)
            except RunError as error:
                messages.append(str(error))
        for place in sizes.items():
            messages += messages_of(_room, place)
        return messages

    def _ask(self, need: Need) -> int | RunError | None:
        if need.server in self._silent:
            return RunError(f"{need.what} ({self._silent[need.server]})")
        try:
            return need.size()
        except RunError as error:
            cause = cause_of(error.__cause__) if error.__cause__ is not None else None
            if cause is not None and cause.transient:
                self._silent[need.server] = cause.what
            return error


def needs(row: Row, with_model: bool = True) -> list[Need]:
    """The downloads of the row: metric networks, reference, and the model if `with_model`."""
    found = [_of_weights(file) for file in dict.fromkeys(weight_files(row.metrics)) if not file.is_here()]
    if row.metrics.profile != "none" and reference_is_to_fetch(row):
        dataset = hub_reference(row.reference.repo, row.reference.revision)
        what = f"the reference {row.reference.repo} is not on this machine; the run downloads it"
        found.append(Need(what, _hub_server(), dataset.cache, lambda: validation_to_come(dataset)))
    if with_model and not model_is_here(row.model):
        found.append(_of_model(row.model))
    return found


def local_model(model: ModelConfig) -> ModelConfig:
    """`model` with a local path. RunError if its weights must be downloaded first."""
    if model.kind != "hub" or model.path:
        return model
    folder = cached_pipeline(repository(model), model.variant)
    if folder is None:
        raise RunError(_of_model(model).what)
    return dataclasses.replace(model, path=str(folder), variant=model.variant)


def weight_files(value: Any) -> Iterator[WeightFile | HubFile]:
    """Every weight file in a configuration object, at any depth."""
    if isinstance(value, WeightFile | HubFile):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from weight_files(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from weight_files(getattr(value, field.name))


def _room(place: tuple[Path, int]) -> None:
    folder, size = place
    require_space(size, folder, "the downloads", "RETOM_CACHE" if folder == weights_folder() else "HF_HOME")


def _of_weights(file: WeightFile | HubFile) -> Need:
    if isinstance(file, HubFile):
        what = f"the weights {file.filename} of {file.repo} are not on this machine; the run downloads them"
        return Need(what, _hub_server(), file.repository.cache, lambda: _bytes_of(file.repository, file.filename))
    place = weights_folder() / file.name
    what = f"the weights {place} do not exist; the run downloads them from {file.url}"
    return Need(what, urlsplit(file.url).netloc, weights_folder(), file.size)


def _hub_server() -> str:
    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).netloc


def _bytes_of(repository: Repository, name: str) -> int:
    listed = hub.listing(repository)
    if name not in listed.files:
        raise RunError(f"{repository.subject} ({name} is not in the repository); check its name")
    return hub.bytes_missing(repository, [listed.files[name]])


def _of_model(model: ModelConfig) -> Need:
    source = repository(model)
    return Need(
        f"the weights of model {model.name} are not on this machine; the run downloads {model.repo} at revision "
        f"{model.revision} from the model hub, or set a local copy with model.path=FOLDER",
        _hub_server(),
        source.cache,
        lambda: hub.bytes_missing(source, files_to_come(source, model.variant)),
    )


def model_is_here(model: ModelConfig) -> bool:
    """Whether the model needs no download; a local folder may still be wrong."""
    return model.kind != "hub" or bool(model.path) or cached_pipeline(repository(model), model.variant) is not None


def reference_is_to_fetch(row: Row) -> bool:
    """Whether the run downloads its reference images."""
    chosen = row.reference
    return chosen.kind == "hub" and not cached_validation(hub_reference(chosen.repo, chosen.revision))


def messages_of(check: Callable[[Any], list[str] | None], subject: Any) -> list[str]:
    """What `check` returns or raises about `subject`, as messages."""
    try:
        return check(subject) or []
    except (RunError, ValueError) as error:
        return [str(error)]
