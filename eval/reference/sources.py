"""Sources of real images: folders, parquet files, the model hub.

Every source returns `{class index: images in the order of their original file names}` for the requested classes.
Nothing is decoded here.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.decoding import EncodedImage
from eval.downloads.causes import offline_variable
from eval.downloads.digests import file_sha256
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
from eval.reference.files import Skipped, has_image_ending, holds_images, image_files
from eval.reference.label_column import WNID, classes_of_rows
from eval.reference.labels import read_labels
from eval.silence import silent_tables

_VALIDATION = re.compile(r"data/validation-.*\.parquet")

ImagesByClass = dict[int, list[EncodedImage]]


@dataclass(frozen=True)
class RowImage:
    """A row of the `datasets` table `source` (memory-mapped: bytes are read on demand)."""

    name: str
    row: int
    rows: Any = field(repr=False, compare=False)
    source: str = ""

    @property
    def place(self) -> str:
        """Name, row and table, for messages."""
        return f"{self.name} (row {self.row} of {self.source})"

    def read(self) -> bytes:
        """The encoded bytes of the row's `image` column. RunError if there are none."""
        data = (self.rows[self.row]["image"] or {}).get("bytes")
        if not data:
            raise RunError(f"image {self.place} has no bytes in the table; store the encoded image in its column")
        return data


def from_folder(
    path: Path, labels: Path | None, synsets: Path | None, wnids: dict[str, int], *, report: bool = True
) -> ImagesByClass:
    """Class folders named by wnid, or images flat in one folder with `labels` (see eval.reference.labels).

    Skipped entries (eval.reference.files) are reported in one line, unless `report` is False.
    """
    if not path.is_dir():
        raise RunError(f"reference folder {path} does not exist or is not a folder; set it to a folder of images")
    skipped = Skipped()
    try:
        folders = sorted(entry for entry in path.iterdir() if WNID.match(entry.name) and entry.is_dir())
        if not folders:
            return _flat(path, labels, synsets, wnids, skipped)
        _skip_others(path, wnids, skipped)
        return {wnids[folder.name]: image_files(folder, skipped) for folder in folders if folder.name in wnids}
    finally:
        if report:
            skipped.report(path)


def _flat(
    path: Path, labels: Path | None, synsets: Path | None, wnids: dict[str, int], skipped: Skipped
) -> ImagesByClass:
    files = image_files(path, skipped)
    if not files:
        raise RunError(f"reference folder {path} holds neither class folders (such as n01440764) nor images")
    if labels is None:
        raise RunError(f"reference folder {path} is flat; set the labels of its images (reference.labels)")
    found: ImagesByClass = {}
    table = read_labels(labels, synsets, [file.name for file in files])
    for file in files:
        if table[file.name] in wnids:
            found.setdefault(wnids[table[file.name]], []).append(file)
    return found


def _skip_others(path: Path, wnids: dict[str, int], skipped: Skipped) -> None:
    """Add to `skipped`: folders of classes not requested, broken links, and images outside class folders."""
    for entry in path.iterdir():
        if WNID.match(entry.name) and entry.is_dir():
            if entry.name not in wnids:
                skipped.add("class folders that no prompt uses", entry)
        elif entry.is_symlink() and not entry.exists():
            skipped.add("broken links", entry)
        elif not entry.is_dir() and has_image_ending(entry):
            skipped.add("images outside of class folders", entry)
        elif entry.is_dir() and not entry.name.startswith(".") and holds_images(entry):
            skipped.add("folders with images whose name is not a WordNet id", entry)


def from_parquet(path: Path, wnids: dict[str, int], cache: Path) -> ImagesByClass:
    """A parquet file, or a folder of them, with columns image and wnid or label (eval.reference.label_column)."""
    import datasets

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise RunError(f"reference {path} is neither a parquet file nor a folder with parquet files")
    contents = hashlib.sha256()
    for file in files:  # the library's own cache is keyed by modification time, which a copy may preserve
        contents.update(file_sha256(file).encode())
    place = cache / "datasets" / contents.hexdigest()[:16]
    try:
        rows = datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=str(place))
    except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
        raise RunError(f"reference {path} cannot be read as parquet: {error.__cause__ or error}") from error
    return _from_rows(rows, wnids, str(path))


def from_hub(repo: str, revision: str | None, wnids: dict[str, int]) -> ImagesByClass:
    """The validation split of a hub dataset such as the gated ILSVRC/imagenet-1k. The training split is not downloaded.

    Needs no network once its files are in the hub's cache (HF_HOME). RunError: why they are not available, or which
    of them is damaged.
    """
    import datasets

    files = validation_files(hub_reference(repo, revision))
    check_files(files)
    with silent_tables():
        rows = datasets.Dataset.from_parquet([str(file) for file in files])
    return _from_rows(rows, wnids, repo)


def hub_reference(repo: str, revision: str | None) -> Repository:
    """The hub repository of a dataset."""
    return Repository(
        repo,
        revision or MAIN,
        kind="dataset",
        subject=f"reference {repo} cannot be downloaded from the model hub",
        way_out="use a local copy (reference.kind=folder or parquet with reference.path)",
    )


def validation_files(repository: Repository) -> list[Path]:
    """The parquet files of the validation split, downloaded if not cached."""
    if cached := cached_validation(repository):
        return cached
    listed = _listing(repository)
    names = _validation_names(repository, listed)
    folder = download(repository, listed, names)
    return [folder / name for name in names]


def validation_to_come(repository: Repository) -> int:
    """Bytes that `validation_files` would download. RunError: why they are not available."""
    listed = _listing(repository)
    names = _validation_names(repository, listed)
    return bytes_missing(repository, missing_files(repository, listed, names))


def _listing(repository: Repository) -> Listing:
    if (variable := offline_variable("HF_DATASETS_OFFLINE")) is not None:
        raise RunError(
            f"{repository.subject} ({variable} is set and not everything is in the cache); unset it on a machine with "
            f"a network and download it once, or {repository.way_out}"
        )
    return listing(repository)


def _validation_names(repository: Repository, listed: Listing) -> list[str]:
    names = sorted(filter(_VALIDATION.fullmatch, listed.files))
    if not names:
        raise RunError(f"{repository.subject} (it has no data/validation-*.parquet); {repository.way_out}")
    return names


def cached_validation(repository: Repository) -> list[Path]:
    """The parquet files of the validation split if all of them are cached, otherwise an empty list."""
    folder = snapshot(repository)
    names = sorted(filter(_VALIDATION.fullmatch, names_in(folder))) if folder else []
    return [] if lacking_shards(names) else [folder / name for name in names]


def _from_rows(rows: Any, wnids: dict[str, int], source: str) -> ImagesByClass:
    if "image" not in rows.column_names or not {"wnid", "label"} & set(rows.column_names):
        raise RunError(f"reference {source} must have columns image and wnid or label, got {rows.column_names}")
    rows = _undecoded(rows, source)
    paths = _paths_of_rows(rows)
    classes = classes_of_rows(rows, paths, wnids, source)
    names = [Path(path).name if path else None for path in paths]
    # Without original names, the order of the rows is used.
    order: Sequence[int] = range(len(rows))
    if all(names):
        order = sorted(order, key=lambda row: names[row])
    found: ImagesByClass = {}
    for row in order:
        if classes[row] is not None:
            name = names[row] or f"row{row:08d}"
            found.setdefault(classes[row], []).append(RowImage(name, row, rows, source))
    return found


def _undecoded(rows: Any, source: str) -> Any:
    """`rows` with undecoded bytes in the column image. RunError if it has no encoded images, such as arrays."""
    import datasets

    kind = rows.features["image"]
    bytes_alone = isinstance(kind, datasets.Value) and kind.dtype in ("binary", "large_binary")
    if not (isinstance(kind, datasets.Image) or bytes_alone or (isinstance(kind, dict) and "bytes" in kind)):
        raise RunError(
            f"reference {source}: column image contains {kind}, not encoded images; write it as datasets.Image, or "
            "as the bytes of image files"
        )
    return rows.cast_column("image", datasets.Image(decode=False))


def _paths_of_rows(rows: Any) -> list[str | None]:
    # The struct's field is read in Arrow, so that no image is read to get its name.
    import pyarrow.compute

    return pyarrow.compute.struct_field(rows.data.column("image"), "path").to_pylist()
