"""Weight files of the metric networks: where they are stored, and their download (once, complete, checked by hash).

Folder: `$RETOM_CACHE/weights`, else `$XDG_CACHE_HOME/retom/weights`, else `~/.cache/retom/weights`. Files of the model
hub are in the hub's own cache (`HF_HOME`). `HF_HUB_OFFLINE=1` forbids downloads of both.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from eval.atomic import clear
from eval.downloads import hub
from eval.downloads.causes import explained, offline_variable
from eval.downloads.digests import file_sha256
from eval.downloads.fetching import Source, alone, fetch, remote_size, tried
from eval.downloads.hub import Repository
from eval.errors import RunError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightFile:
    """One file of network weights.

    name: file name in the cache folder. url: where to download it. sha256: 64 hex digits, checked before every use.
    path: a local file that replaces the cached one. ValueError if sha256 is not a digest.
    """

    name: str
    url: str
    sha256: str
    path: str | None = None

    def __post_init__(self) -> None:
        _check_digest(self.sha256)

    def locate(self) -> Path:
        """The file, downloaded if missing. RunError: which file, from where, where to put it."""
        if self.path is not None:
            return _own_file(self.path, self.sha256, self.url)
        target = weights_folder() / self.name
        if target.is_file() and file_sha256(target) == self.sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        # Jobs of a sweep start together: the first one downloads, the others wait and find the file.
        with alone(target.with_name(f".{target.name}.lock"), target.name):
            if not _is_intact(target, self.sha256):
                clear(target.parent)
                self._fetch(target)
        return target

    def is_here(self) -> bool:
        """Whether the file is on this machine. Its hash is not checked."""
        return (weights_folder() / self.name if self.path is None else Path(self.path).expanduser()).is_file()

    def size(self) -> int | None:
        """Bytes of the download as reported by the server, or None. RunError: why it is not available."""
        with self._explained(weights_folder() / self.name):
            return tried(lambda: remote_size(self.url), self.name)

    def _fetch(self, target: Path) -> None:
        """Download to a partial file (resumable), check the hash, rename. RunError: the reason."""
        source = Source(target.name, lambda: (self.url, {}), self.sha256)
        with self._explained(target):
            fetch(source, target, target.with_name(f".{target.name}.partial"))

    @contextlib.contextmanager
    def _explained(self, target: Path) -> Iterator[None]:
        cannot = f"weights {target.name} cannot be downloaded from {self.url}"
        way_out = f"download it elsewhere and put it at {target}"
        if variable := offline_variable():
            raise RunError(f"{cannot} ({variable} is set); unset it on a machine with a network, or {way_out}")
        with explained(cannot, way_out):
            yield


@dataclass(frozen=True)
class HubFile:
    """One safetensors file of a model hub repository.

    revision: commit or branch. sha256: if given, checked by `digest`. path: a local file that replaces it.
    """

    repo: str
    filename: str
    revision: str = "main"
    sha256: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if not (self.path or self.filename).endswith(".safetensors"):
            raise ValueError(f"weights must be a .safetensors file, got {self.path or self.filename!r}")
        if self.sha256 is not None:
            _check_digest(self.sha256)

    def locate(self) -> Path:
        """The file, downloaded if it is not in the hub's cache. RunError: why it is not available."""
        if self.path is not None:
            return _own_file(self.path, self.sha256, f"{self.repo}/{self.filename} on the model hub")
        return self._cached() or self._from_hub()

    @cached_property
    def digest(self) -> str:
        """sha256 of the file, computed once (up to 1.7 GB). RunError: it is not the expected file, or damaged."""
        path = self.locate()
        found = file_sha256(path)
        hub.check_digest(path, found)
        if self.sha256 is not None and found != self.sha256:
            raise RunError(
                f"{path} is not the expected file (sha256 {found}, expected {self.sha256}); delete it and run again"
            )
        return found

    @property
    def repository(self) -> Repository:
        """The hub repository of the file."""
        return Repository(
            self.repo,
            self.revision,
            subject=f"weights {self.filename} of {self.repo} (model hub, revision {self.revision}) are not cached and "
            "cannot be downloaded",
            way_out="download that file elsewhere and set its path (the metric's weights.path)",
        )

    def is_here(self) -> bool:
        """Whether the file is on this machine."""
        return Path(self.path).expanduser().is_file() if self.path is not None else self._cached() is not None

    def _cached(self) -> Path | None:
        folder = hub.snapshot(self.repository)
        return folder / self.filename if folder is not None and (folder / self.filename).is_file() else None

    def _from_hub(self) -> Path:
        listed = hub.listing(self.repository)
        if self.filename not in listed.files:
            raise RunError(f"{self.repository.subject} (it is not in the repository); check its name")
        return hub.download(self.repository, listed, [self.filename]) / self.filename


def cache_folder() -> Path:
    """The folder of everything that can be downloaded or computed again."""
    if own := os.environ.get("RETOM_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retom"


def weights_folder() -> Path:
    """The folder of downloaded network weights."""
    return cache_folder() / "weights"


def _check_digest(value: str) -> None:
    if len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ValueError(f"sha256 must be 64 lower-case hex digits, got {value!r}")


def _own_file(path: str, sha256: str | None, source: str) -> Path:
    own = Path(path).expanduser()
    if not own.is_file():
        raise RunError(f"weights {own} do not exist; put {source} there, or leave the path empty to download it")
    if sha256 is not None and (found := file_sha256(own)) != sha256:
        raise RunError(f"weights {own} have sha256 {found}, expected {sha256}; get the file again from {source}")
    return own


def _is_intact(target: Path, sha256: str) -> bool:
    if not target.is_file():
        return False
    if file_sha256(target) == sha256:
        return True
    _log.warning("%s is damaged (wrong sha256): downloading it again", target)
    return False
