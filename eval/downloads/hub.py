"""Repositories of the Hugging Face hub: what is cached, what is missing, and the download of the rest.

Large files are downloaded by `eval.downloads.fetching` into the hub's own cache, where a file is named by its sha256
(`blobs/<sha256>`). huggingface_hub 1.32 to 2.4 abandons a file whose connection is reset and does not keep the partial
file for the next process. huggingface_hub manages the rest of the cache (small files, snapshots, listings).
"""

import contextlib
import dataclasses
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from eval.downloads.causes import explained
from eval.downloads.digests import file_sha256, git_sha1
from eval.downloads.fetching import Source, alone, fetch, require_space, tried
from eval.downloads.progress import readable
from eval.errors import RunError
from eval.silence import silent_downloads

_log = logging.getLogger(__name__)

MAIN = "main"
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


@dataclasses.dataclass(frozen=True)
class Repository:
    """A repository at a revision. kind: "model" or "dataset". subject, way_out: as in `causes.explained`."""

    name: str
    revision: str = MAIN
    kind: str = "model"
    subject: str = ""
    way_out: str = ""

    @property
    def cache(self) -> Path:
        """The repository's folder in the hub's cache (HF_HOME)."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE).expanduser() / f"{self.kind}s--{self.name.replace('/', '--')}"

    @property
    def page(self) -> str:
        """The web page on which the terms are accepted."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """Turn download failures into a one-line RunError about this repository."""
        return explained(self.subject or f"cannot get {self.name}", self.way_out or "use a local copy", self.page)


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file of a listing. sha256: set for large files, None for others."""

    path: str
    size: int
    sha256: str | None


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a repository at a revision. pipeline: the diffusers class of its index, if the hub reports it."""

    commit: str
    files: Mapping[str, RemoteFile]
    pipeline: str | None = None


def snapshot(repository: Repository) -> Path | None:
    """The cached snapshot folder, or None if there is none. It may be incomplete."""
    commit = repository.revision
    if not _COMMIT.match(commit):
        reference = repository.cache / "refs" / commit
        if not reference.is_file():
            return None
        commit = reference.read_text().strip()
    folder = repository.cache / "snapshots" / commit
    return folder if folder.is_dir() else None


def known_names(repository: Repository) -> set[str] | None:
    """Names of all files of the repository from the cached listing, or None if no listing is cached."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        tree = get_cached_repo_tree(repository.name, repo_type=repository.kind, revision=repository.revision)
    except CachedRepoTreeNotFoundError:
        return None
    return {file.path for file in tree}


def names_in(folder: Path) -> set[str]:
    """Names of the files in a snapshot, relative to it. Broken links are left out."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return {file.relative_to(folder).as_posix() for file in found if file.is_file()}


def lacking_shards(names: Iterable[str]) -> bool:
    """Whether a sharded file (such as x-00001-of-00003) is incomplete."""
    series: dict[tuple[str, str], set[str]] = {}
    for name in names:
        if part := _SHARD.search(name):
            series.setdefault((_SHARD.sub("", name), part[2]), set()).add(part[1])
    return any(len(numbers) < int(total) for (_, total), numbers in series.items())


def listing(repository: Repository) -> Listing:
    """The repository's files as reported by the hub. RunError with one line if this account has no access.

    Exchanges a few kilobytes and downloads no file.
    """
    from huggingface_hub import HfApi

    with repository.explained(), silent_downloads():
        info = tried(
            lambda: HfApi().repo_info(
                repository.name,
                revision=repository.revision,
                repo_type=repository.kind,
                files_metadata=True,
                timeout=30,
            ),
            repository.name,
        )
        files = [RemoteFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None) for one in info.siblings]
        if info.gated and files:
            tried(lambda: _address(repository, info.sha, files[-1].path), repository.name)
    config = getattr(info, "config", None) or {}
    kind = (config.get("diffusers") or {}).get("_class_name")
    return Listing(info.sha, {file.path: file for file in files}, kind if isinstance(kind, str) else None)


def missing_files(repository: Repository, listed: Listing, names: Iterable[str]) -> list[RemoteFile]:
    """Those of `names` that are not cached."""
    folder = repository.cache / "snapshots" / listed.commit
    files = [listed.files[name] for name in names if not (folder / name).is_file()]
    return [file for file in files if file.sha256 is None or not (repository.cache / "blobs" / file.sha256).is_file()]


def bytes_missing(repository: Repository, files: Iterable[RemoteFile]) -> int:
    """Bytes of `files` still to download. Bytes of an interrupted download are not counted."""
    come = (_partial(repository, file) for file in files)
    return sum(file.size for file in files) - sum(path.stat().st_size for path in come if path and path.is_file())


def download(repository: Repository, listed: Listing, names: Iterable[str]) -> Path:
    """The snapshot that contains `names`, after downloading those not cached. RunError: one line.

    Small files are downloaded first, so a snapshot that has its weights is complete.
    """
    from huggingface_hub import snapshot_download

    names = sorted(names)
    absent = missing_files(repository, listed, names)
    require_space(bytes_missing(repository, absent), repository.cache, repository.subject, "HF_HOME")
    if absent:
        size = readable(bytes_missing(repository, absent))
        count = f"{len(absent)} file{'s' if len(absent) > 1 else ''}"
        _log.info("%s: downloading %s, %s, to %s", repository.name, count, size, repository.cache)
    small = [name for name in names if listed.files[name].sha256 is None]
    with repository.explained(), silent_downloads():
        for part in (small, names):
            if part is names:
                for file in absent:
                    if file.sha256 is not None:
                        _fetch_blob(repository, listed.commit, file)
            folder = tried(
                lambda part=part: snapshot_download(
                    repository.name,
                    revision=repository.revision,
                    repo_type=repository.kind,
                    allow_patterns=[_literal(name) for name in part] or [""],
                ),
                repository.name,
            )
    lost = [name for name in names if not (Path(folder) / name).is_file()]
    if lost:
        raise RunError(f"{repository.subject}: {lost[0]} is missing in {folder} after the download; run it again")
    return Path(folder)


def expected_digest(path: Path) -> str | None:
    """The digest in a cached file's name: sha256 for large files, git's sha1 for small ones, otherwise None."""
    real = path.resolve()
    named = re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", real.name)
    return real.name if named and real.parent.name == "blobs" else None


def check_digest(path: Path, sha256: str) -> None:
    """RunError that names the file to delete if a cached file (of this `sha256`) is damaged."""
    expected = expected_digest(path)
    found = sha256 if expected is None or len(expected) == 64 else git_sha1(path)
    if expected is not None and found != expected:
        raise RunError(
            f"{path.name} in the hub's cache is damaged (it has digest {found[:12]}, expected {expected[:12]}); delete "
            f"{path.resolve()} and run again to download it"
        )


def check_files(paths: Iterable[Path]) -> None:
    """RunError that names the first damaged file of the hub's cache."""
    for path in paths:
        if expected_digest(path) is not None:
            check_digest(path, file_sha256(path))


def _literal(name: str) -> str:
    """`name` as a glob pattern that matches only itself."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _partial(repository: Repository, file: RemoteFile) -> Path | None:
    return repository.cache / "blobs" / f"{file.sha256}.incomplete" if file.sha256 else None


def _fetch_blob(repository: Repository, commit: str, file: RemoteFile) -> None:
    target, partial = repository.cache / "blobs" / file.sha256, _partial(repository, file)
    lock = repository.cache.parent / ".locks" / repository.cache.name / f"{file.sha256}.lock"
    source = Source(
        f"{repository.name}/{file.path}", lambda: _address(repository, commit, file.path), file.sha256, file.size
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with alone(lock, source.name):
        if not target.is_file():
            fetch(source, target, partial)


def _address(repository: Repository, commit: str, path: str) -> tuple[str, dict[str, str]]:
    """The file's URL and request headers. Another host gets no token."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repository.name, path, repo_type=repository.kind, revision=commit)
    found = get_hf_file_metadata(url, timeout=30)
    headers = build_hf_headers()
    if found.commit_hash is None:
        from huggingface_hub.errors import FileMetadataError

        raise FileMetadataError(f"{url} is not a response of the hub")
    if urlsplit(found.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)
    return found.location, headers
