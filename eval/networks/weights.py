"""Where the weights of the measuring networks live, and how they get there: whole, checked by hash, fetched once.

Folder: `$RETOM_CACHE/weights`, else `$XDG_CACHE_HOME/retom/weights`, else `~/.cache/retom/weights`. Files of the model
hub stay in the hub's own cache (`HF_HOME`). `HF_HUB_OFFLINE=1` means: do not try the network for either.
"""

import contextlib
import hashlib
import logging
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from eval.atomic import clear, replacing
from eval.errors import RunError

_log = logging.getLogger(__name__)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class WeightFile:
    """One file of network weights.

    name: file name in the cache folder. url: where it comes from. sha256: 64 hex digits, checked before every use.
    path: a file of the user's own instead of the cached one. ValueError when sha256 is not a digest.
    """

    name: str
    url: str
    sha256: str
    path: str | None = None

    def __post_init__(self) -> None:
        _check_digest(self.sha256)

    def locate(self) -> Path:
        """The file, fetched if it is not there yet. RunError: which file, from where, where to put it."""
        if self.path is not None:
            return _own_file(self.path, self.sha256, self.url)
        target = weights_folder() / self.name
        if _is_intact(target, self.sha256):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        # Jobs of a sweep start together: the first one fetches, the others wait and find the file.
        with _alone(target):
            if not _is_intact(target, self.sha256):
                clear(target.parent)
                _log.info("fetching %s from %s", target.name, self.url)
                _fetch(self.url, self.sha256, target)
        return target


@dataclass(frozen=True)
class HubFile:
    """One safetensors file of a model hub repository.

    revision: commit or branch. sha256: checked if given. path: a file of the user's own instead.
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
        """The file, fetched by huggingface_hub if it is not there yet. RunError when that fails."""
        if self.path is not None:
            return _own_file(self.path, self.sha256, f"{self.repo}/{self.filename} on the model hub")
        path = self._from_hub()
        if self.sha256 is not None and file_sha256(path) != self.sha256:
            raise RunError(
                f"{path} is not the expected file (sha256 differs from {self.sha256}); delete it and run again"
            )
        return path

    def _from_hub(self) -> Path:
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.repo, self.filename, revision=self.revision))
        except OSError as error:
            raise RunError(
                f"weights {self.filename} of {self.repo} (model hub, revision {self.revision}) are not cached and "
                f"cannot be had ({type(error).__name__}); connect once, or download that file elsewhere and give its "
                "path (the metric's weights.path)"
            ) from error


def cache_folder() -> Path:
    """The folder of everything that may be fetched or computed again."""
    if own := os.environ.get("RETOM_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retom"


def weights_folder() -> Path:
    """The folder of fetched network weights."""
    return cache_folder() / "weights"


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_digest(value: str) -> None:
    if len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ValueError(f"sha256 must be 64 lower-case hex digits, got {value!r}")


def _own_file(path: str, sha256: str | None, source: str) -> Path:
    own = Path(path).expanduser()
    if not own.is_file():
        raise RunError(f"weights {own} do not exist; put {source} there or leave the path empty to have it fetched")
    if sha256 is not None and (found := file_sha256(own)) != sha256:
        raise RunError(f"weights {own} have sha256 {found}, expected {sha256}; get the file again from {source}")
    return own


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the lock of `target`; who has to wait for it is told."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("%s: another process fetches it: waiting", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_intact(target: Path, sha256: str) -> bool:
    if not target.is_file():
        return False
    if file_sha256(target) == sha256:
        return True
    _log.warning("%s is damaged (wrong sha256): fetching it again", target)
    return False


def _fetch(url: str, sha256: str, target: Path) -> None:
    """Stream `url` to a temporary file, check the hash, rename. RunError when it cannot be had or is not the file."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise RunError(_unreachable(url, target, "HF_HUB_OFFLINE is set"))
    digest = hashlib.sha256()
    with replacing(target) as temporary:
        try:
            with urllib.request.urlopen(url, timeout=30) as response, temporary.open("wb") as file:
                while chunk := response.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
        except OSError as error:
            raise RunError(_unreachable(url, target, str(error))) from error
        if digest.hexdigest() != sha256:
            raise RunError(_unreachable(url, target, f"what came has sha256 {digest.hexdigest()}, expected {sha256}"))


def _unreachable(url: str, target: Path, why: str) -> str:
    return f"weights {target.name} cannot be had from {url} ({why}); download it elsewhere and put it at {target}"
