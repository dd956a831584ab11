"""Figure 2: the same prompts and seeds with every method, those that merging changed most first."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.errors import RunError
from eval.records import BASELINE
from eval.records.contents import check_files
from eval.report.gather import Entry, Gathered
from eval.report.limits import COLUMNS, IMAGES, few, spread
from eval.report.thumbnails import data_uri, likeness, thumbnail
from eval.tables.claims import OURS

PROMPTS = 48
# Images are compared at this side, and at most so many of all runs together (300 prompts of nine rows, well under a
# minute): a real run has 2,000 of 512 pixels.
COMPARED_SIDE = 128
COMPARED_IMAGES = 2700


@dataclass(frozen=True)
class GalleryImage:
    """One cell: `uri` is None where there is no image, and `why` gives the reason. ssim: to the baseline's image."""

    uri: str | None
    why: str | None = None
    ssim: float | None = None
    invalid: str | None = None


@dataclass(frozen=True)
class Shown:
    """One prompt and seed with an image, or the reason for its absence, for each column."""

    key: str
    prompt: str
    seed: int
    images: tuple[GalleryImage, ...]
    lowest: float | None


@dataclass(frozen=True)
class Gallery:
    """`columns`: rows of the tables that have images; `rows`: prompts, lowest SSIM first.

    compared, total: number of prompts compared, and in the runs; problems: what is not shown, and why.
    """

    columns: tuple[Entry, ...]
    rows: tuple[Shown, ...]
    compared: int
    total: int
    problems: tuple[str, ...]


def gallery(gathered: Gathered, *, prompts: int = PROMPTS, budget: int = IMAGES) -> Gallery:
    """Images of at most `prompts` prompts, as many as fit into `budget` characters. An absent image is no error.

    Of more than `COLUMNS` rows some are shown: the first of the tables, and of the others a few spread evenly.
    """
    problems: list[str] = []
    manifests = {}
    for entry in _columns(gathered.entries, problems):
        items = _manifest(gathered.runs / entry.run, problems)
        if items:
            manifests[entry] = items
    columns = tuple(manifests)
    # The same image of two runs has the same key, prompt and seed.
    keys = list(dict.fromkeys(key for items in manifests.values() for key in items))
    looked = spread(keys, COMPARED_IMAGES // max(len(columns), 1))
    scores = _scores(gathered.runs, manifests, looked)
    worst = sorted(looked, key=lambda key: _lowest(scores[key]))
    rows, left = [], budget
    for key in worst[:prompts]:
        row = _row(gathered.runs, manifests, key, scores[key])
        left -= sum(len(image.uri or "") for image in row.images)
        if left < 0:
            problems.append(f"The images of {len(rows)} prompts fill the page; the other prompts are left out.")
            break
        rows.append(row)
    problems += _absent(columns, rows)
    return Gallery(columns, tuple(rows), len(looked), len(keys), tuple(problems))


def _columns(entries: Sequence[Entry], problems: list[str]) -> list[Entry]:
    """The rows whose images are shown: the baseline and ReToM first, which are always among them, then the others."""
    runs = [entry for entry in entries if entry.run is not None]
    first = [next((entry for entry in runs if entry.line.record["method"] == name), None) for name in (BASELINE, OURS)]
    first = [entry for entry in first if entry is not None]
    others = [entry for entry in runs if entry not in first]
    chosen = [*first, *few(others, COLUMNS - len(first))]
    if len(chosen) < len(runs):
        problems.append(
            f"Images of {len(chosen)} of {len(runs)} rows are shown: the first rows, and others spread evenly."
        )
    return chosen


Key = tuple[str, str, int]
Items = Mapping[Key, dict]
Scores = dict[Key, dict[Entry, float | None]]


def _manifest(folder: Path, problems: list[str]) -> dict[Key, dict] | None:
    """The run's items by key, prompt and seed. Nothing is written: a damaged file is for the run to set aside."""
    path = folder / "manifest.jsonl"
    try:
        # Not splitlines(): a prompt may hold U+2028, which JSON does not escape.
        items = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        found = {(str(item["key"]), str(item["prompt"]), int(item["seed"])): item for item in items}
        check_files(items, path)
    except FileNotFoundError:
        problems.append(f"{folder.parent.name}/{folder.name} has no manifest.jsonl; its images are not shown.")
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError, RunError) as error:
        problems.append(
            f"The manifest of {folder.parent.name}/{folder.name} cannot be read ({error}); its images are not shown."
        )
        return None
    return found


def _open(runs: Path, entry: Entry, item: Mapping, side: int):
    return thumbnail(_file(runs, entry, item), side)


def _file(runs: Path, entry: Entry, item: Mapping) -> Path:
    """The path of the image. RunError: a link, which might put any file of this machine on the page."""
    folder = runs / entry.run / "images"
    if folder.is_symlink() or (folder / item["file"]).is_symlink():
        raise RunError(f"image {folder / item['file']} is a link")
    return folder / item["file"]


def _scores(runs: Path, manifests: Mapping[Entry, Items], keys: Sequence[Key]) -> Scores:
    """SSIM to the baseline's image, both at `COMPARED_SIDE`; None where either is absent."""
    scores: Scores = {key: {} for key in keys}
    base = next((entry for entry in manifests if entry.line.record["method"] == BASELINE), None)
    if base is None:
        return scores
    for key in keys:
        base_image = _try_open(runs, base, manifests[base].get(key))
        for entry, items in manifests.items():
            image = None if entry is base or base_image is None else _try_open(runs, entry, items.get(key))
            scores[key][entry] = None if image is None else likeness(image, base_image)
    return scores


def _try_open(runs: Path, entry: Entry, item: Mapping | None):
    try:
        return None if item is None else _open(runs, entry, item, COMPARED_SIDE)
    except RunError:
        return None


def _lowest(scores: Mapping[Entry, float | None]) -> float:
    # What cannot be compared comes last, not first; the lines above the grid report it.
    return min((score for score in scores.values() if score is not None), default=2.0)


def _row(runs: Path, manifests: Mapping[Entry, Items], key: Key, scores: Mapping[Entry, float | None]) -> Shown:
    images = tuple(_gallery_image(runs, entry, items.get(key), scores.get(entry)) for entry, items in manifests.items())
    lowest = _lowest(scores)
    return Shown(key[0], key[1], key[2], images, lowest if lowest <= 1 else None)


def _gallery_image(runs: Path, entry: Entry, item: Mapping | None, score: float | None) -> GalleryImage:
    if item is None:
        return GalleryImage(None, why="not in this run")
    listed = {entry["key"]: entry["why"] for entry in entry.line.record["images"]["invalid"]}
    invalid = listed.get(item["key"])
    try:
        path = _file(runs, entry, item)
        if not path.is_file():
            return GalleryImage(None, why="no such file", invalid=invalid)
        return GalleryImage(data_uri(thumbnail(path)), ssim=score, invalid=invalid)
    except RunError:
        return GalleryImage(None, why="unreadable", invalid=invalid)


def _absent(columns: Sequence[Entry], rows: Sequence[Shown]) -> list[str]:
    found = []
    for index, entry in enumerate(columns):
        count = sum(row.images[index].uri is None for row in rows)
        if count:
            found.append(f"{count} of the {len(rows)} images shown here are absent in {entry.run}.")
    return found
