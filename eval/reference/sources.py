"""Where real pictures come from: folders, parquet files, the model hub. Each gives the pictures of a class by name.

Every source answers the same question: `{class index: pictures in the order of their original file names}`, for the
classes asked for. Nothing is decoded here.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.downloads.causes import offline_variable
from eval.downloads.hub import (
    MAIN,
    Listing,
    Repository,
    bytes_missing,
    check_files,
    download,
    lacking_shards,
    listing,
    missing_files,
    names_in,
    snapshot,
)
from eval.errors import RunError
from eval.networks.weights import file_sha256
from eval.pictures import Picture, read_file
from eval.reference.labels import read_labels
from eval.silence import silent_tables

_ENDINGS = {".jpeg", ".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_WNID = re.compile(r"^n\d{8}$")
_VALIDATION = re.compile(r"data/validation-.*\.parquet")

Pictures = dict[int, list[Picture]]


@dataclass(frozen=True)
class FilePicture:
    """A picture file; `name` is its original file name."""

    name: str
    path: Path

    def read(self) -> bytes:
        """The file's bytes. RunError when it cannot be read."""
        return read_file(self.path)


@dataclass(frozen=True)
class RowPicture:
    """A row of a `datasets` table (memory-mapped: bytes are read when asked for)."""

    name: str
    row: int
    rows: Any = field(repr=False, compare=False)

    def read(self) -> bytes:
        """The encoded bytes of the row's `image` column. RunError when the row holds none."""
        data = self.rows[self.row]["image"]["bytes"]
        if not data:
            raise RunError(f"picture {self.name} (row {self.row}) has no bytes in the table; only a path is stored")
        return data


def from_folder(path: Path, labels: Path | None, synsets: Path | None, wnids: dict[str, int]) -> Pictures:
    """Class folders named by wnid, or pictures flat in one folder with `labels` (see eval.reference.labels)."""
    if not path.is_dir():
        raise RunError(f"reference folder {path} does not exist or is no folder; give the folder of real pictures")
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and _WNID.match(entry.name))
    if folders:
        return {wnids[name]: _files(path / name) for name in folders if name in wnids}
    files = _files(path)
    if not files:
        raise RunError(f"reference folder {path} holds neither class folders (such as n01440764) nor pictures")
    if labels is None:
        raise RunError(f"reference folder {path} is flat; give the labels of its pictures (reference.labels)")
    found: Pictures = {}
    table = read_labels(labels, synsets, [file.name for file in files])
    for file in files:
        if table[file.name] in wnids:
            found.setdefault(wnids[table[file.name]], []).append(file)
    return found


def _files(folder: Path) -> list[Picture]:
    files = (file for file in folder.iterdir() if file.suffix.lower() in _ENDINGS and not file.name.startswith("."))
    return [FilePicture(file.name, file) for file in sorted(files, key=lambda file: file.name)]


def from_parquet(path: Path, wnids: dict[str, int], cache: Path) -> Pictures:
    """A parquet file, or a folder of them, with columns image and wnid or label (the ImageNet-1k index)."""
    import datasets

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise RunError(f"reference {path} is neither a parquet file nor a folder with parquet files")
    contents = hashlib.sha256()
    for file in files:  # the library's own cache goes by the time of the last change, which a copy may keep
        contents.update(file_sha256(file).encode())
    place = cache / "datasets" / contents.hexdigest()[:16]
    try:
        rows = datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=str(place))
    except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
        raise RunError(f"reference {path} cannot be read as parquet: {error.__cause__ or error}") from error
    return _from_rows(rows, wnids, str(path))


def from_hub(repo: str, revision: str | None, wnids: dict[str, int]) -> Pictures:
    """The validation split of a hub dataset such as the gated ILSVRC/imagenet-1k; the training split is not fetched.

    Once its files are in the hub's cache (HF_HOME) no network is needed. RunError: why they cannot be had, or which of
    them is damaged.
    """
    import datasets

    files = validation_files(hub_reference(repo, revision))
    check_files(files)
    with silent_tables():
        rows = datasets.Dataset.from_parquet([str(file) for file in files])
    return _from_rows(rows, wnids, repo)


def hub_reference(repo: str, revision: str | None) -> Repository:
    """The repository of a hub dataset."""
    return Repository(
        repo,
        revision or MAIN,
        kind="dataset",
        subject=f"reference {repo} cannot be had from the model hub",
        way_out="use a local copy (reference.kind=folder or parquet with reference.path)",
    )


def validation_files(repository: Repository) -> list[Path]:
    """The parquet files of the validation split, downloaded where they are not cached."""
    if cached := cached_validation(repository):
        return cached
    listed = _listing(repository)
    names = _validation_names(repository, listed)
    folder = download(repository, listed, names)
    return [folder / name for name in names]


def validation_to_come(repository: Repository) -> int:
    """Bytes that `validation_files` would download. RunError: why they cannot be had."""
    listed = _listing(repository)
    names = _validation_names(repository, listed)
    return bytes_missing(repository, missing_files(repository, listed, names))


def _listing(repository: Repository) -> Listing:
    if (variable := offline_variable("HF_DATASETS_OFFLINE")) is not None:
        raise RunError(
            f"{repository.subject} ({variable} is set and not everything is in the cache); unset it where there is a "
            f"network and fetch it once, or {repository.way_out}"
        )
    return listing(repository)


def _validation_names(repository: Repository, listed: Listing) -> list[str]:
    names = sorted(filter(_VALIDATION.fullmatch, listed.files))
    if not names:
        raise RunError(f"{repository.subject} (it holds no data/validation-*.parquet); {repository.way_out}")
    return names


def cached_validation(repository: Repository) -> list[Path]:
    """The parquet files of the validation split if all of them are cached, otherwise none."""
    folder = snapshot(repository)
    names = sorted(filter(_VALIDATION.fullmatch, names_in(folder))) if folder else []
    return [] if lacking_shards(names) else [folder / name for name in names]


def _from_rows(rows: Any, wnids: dict[str, int], source: str) -> Pictures:
    import datasets

    if "image" not in rows.column_names or not {"wnid", "label"} & set(rows.column_names):
        raise RunError(f"reference {source} must have columns image and wnid or label, got {rows.column_names}")
    rows = rows.cast_column("image", datasets.Image(decode=False))
    classes = _classes_of_rows(rows, wnids)
    names = _names_of_rows(rows)
    # Without original names the order of the rows is all there is.
    order: Sequence[int] = range(len(rows))
    if all(names):
        order = sorted(order, key=lambda row: names[row])
    found: Pictures = {}
    for row in order:
        if classes[row] is not None:
            name = names[row] or f"row{row:08d}"
            found.setdefault(classes[row], []).append(RowPicture(name, row, rows))
    return found


def _classes_of_rows(rows: Any, wnids: dict[str, int]) -> list[int | None]:
    if "wnid" in rows.column_names:
        return [wnids.get(wnid) for wnid in rows.data.column("wnid").to_pylist()]
    wanted = set(wnids.values())
    return [label if label in wanted else None for label in rows.data.column("label").to_pylist()]


def _names_of_rows(rows: Any) -> list[str | None]:
    # The struct's field is taken in Arrow, so that no picture is read to learn its name.
    import pyarrow.compute

    paths = pyarrow.compute.struct_field(rows.data.column("image"), "path").to_pylist()
    return [Path(path).name if path else None for path in paths]
