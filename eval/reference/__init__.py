"""The real pictures that generated ones are measured against: exactly `per_class` of each class, or an error.

Which ones: the first by original file name, as in the released ATC code (`sorted(files)[:5]` per class folder),
because a distance to other real pictures is another number. The hash over names and bytes says which ones they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eval.checks import check_integer, check_text
from eval.errors import RunError
from eval.pictures import Picture, contents_hash
from eval.reference.moments import ReferenceMoments, load_moments
from eval.reference.sources import Pictures, from_folder, from_hub, from_parquet
from eval.reference.synthetic import write_synthetic

KINDS = ("folder", "parquet", "hub", "synthetic", "moments")


class ClassLike(Protocol):
    """An ImageNet class, as `eval.prompts.ImageClass`: index 0..999, wnid, name."""

    @property
    def index(self) -> int: ...
    @property
    def wnid(self) -> str: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class ReferenceConfig:
    """Where the real pictures are. ValueError on a bad field.

    kind: "folder" (class folders by wnid, or flat with `labels` and perhaps `synsets`), "parquet" (a file or a folder
    of them), "hub" (`repo` at `revision`, validation split), "synthetic" (drawn: `size` pixels, `seed`), "moments"
    (statistics without pictures, whatever the classes; without `path` the shipped ones, of the tiny model's classes).
    path, labels, synsets: files of the user's. per_class: pictures of each class, at least 1.
    """

    kind: str = "folder"
    path: str | None = None
    per_class: int = 5
    labels: str | None = None
    synsets: str | None = None
    repo: str = "ILSVRC/imagenet-1k"
    revision: str | None = None
    size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"reference.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        check_integer("reference.per_class", self.per_class, 1)
        check_integer("reference.size", self.size, 8)
        check_integer("reference.seed", self.seed, 0)
        for name in ("path", "labels", "synsets", "revision"):
            check_text(f"reference.{name}", getattr(self, name))
        if self.kind in ("folder", "parquet") and not self.path:
            raise ValueError(
                f"reference.path must be given for kind {self.kind!r}, got {self.path!r}: the real pictures images "
                "are measured against (model=tiny brings its own)"
            )


@dataclass(frozen=True)
class ReferenceSet:
    """Real pictures, classes in the order asked for, by original name within a class; `hash` over names and bytes."""

    images: tuple[Picture, ...]
    class_indices: tuple[int, ...]
    hash: str

    @property
    def n(self) -> int:
        """How many pictures."""
        return len(self.images)


def load_reference(
    config: ReferenceConfig, classes: Sequence[ClassLike], cache: Path
) -> ReferenceSet | ReferenceMoments:
    """The reference for `classes`. RunError naming class, found and wanted where there are fewer than `per_class`."""
    if not classes:
        raise ValueError("classes must hold at least one class, got none")
    if config.kind == "moments":
        return load_moments(config.path)
    found = _find(config, classes, Path(cache))
    short = [item for item in classes if len(found.get(item.index, ())) < config.per_class]
    if short:
        raise RunError(_shortage(config, short, len(classes), found))
    chosen = [(item, picture) for item in classes for picture in found[item.index][: config.per_class]]
    images = tuple(picture for _, picture in chosen)
    digest = contents_hash((f"{item.wnid}/{picture.name}" for item, picture in chosen), images)
    return ReferenceSet(images, tuple(item.index for item, _ in chosen), digest)


def held_classes(config: ReferenceConfig, classes: Sequence[ClassLike], cache: Path) -> list[ClassLike]:
    """Those of `classes` of which the reference holds at least `per_class` pictures (all of them if it is drawn).

    RunError for statistics, which hold no pictures of any class.
    """
    if config.kind == "synthetic":
        return list(classes)
    if config.kind == "moments":
        raise RunError("a reference of kind moments holds no pictures, so it cannot name classes; list their wnids")
    found = _find(config, classes, Path(cache), report=False)
    return [item for item in classes if len(found.get(item.index, ())) >= config.per_class]


def _find(config: ReferenceConfig, classes: Sequence[ClassLike], cache: Path, *, report: bool = True) -> Pictures:
    wnids = {item.wnid: item.index for item in classes}
    if config.kind == "parquet":
        return from_parquet(_path(config.path), wnids, cache)
    if config.kind == "hub":
        return from_hub(config.repo, config.revision, wnids)
    if config.kind == "synthetic":
        folder = cache / f"synthetic-{config.size}px-seed{config.seed}"
        write_synthetic(folder, wnids.items(), config.per_class, size=config.size, seed=config.seed)
        return from_folder(folder, None, None, wnids)
    labels, synsets = (_path(value) if value else None for value in (config.labels, config.synsets))
    return from_folder(_path(config.path), labels, synsets, wnids, report=report)


def _path(value: str) -> Path:
    return Path(value).expanduser()


def _shortage(config: ReferenceConfig, short: list[ClassLike], total: int, found: Pictures) -> str:
    shown = "; ".join(
        f"{item.wnid} ({item.name}): found {len(found.get(item.index, ()))}, wanted {config.per_class}"
        for item in short[:5]
    )
    more = f"; and {len(short) - 5} more" if len(short) > 5 else ""
    return (
        f"the reference {config.path or config.kind} has too few pictures for {len(short)} of {total} classes: "
        f"{shown}{more}; add pictures, lower reference.per_class, or restrict the classes"
    )
