"""The real images that generated images are compared with: exactly `per_class` per class, or an error.

The first images by original file name are used, as in the released ATC code (`sorted(files)[:5]` per class folder).
Distances to other real images are not comparable. The hash over names and bytes identifies the selection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eval.checks import check_integer, check_text
from eval.errors import RunError
from eval.metrics.decoding import EncodedImage, contents_hash
from eval.reference.moments import ReferenceMoments, load_moments
from eval.reference.sources import ImagesByClass, from_folder, from_hub, from_parquet
from eval.reference.synthetic import write_synthetic

KINDS = ("folder", "parquet", "hub", "synthetic", "moments")


class ClassLike(Protocol):
    """An ImageNet class, such as `eval.generation.prompts.ImageClass`: index 0..999, wnid, name."""

    @property
    def index(self) -> int: ...
    @property
    def wnid(self) -> str: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class ReferenceConfig:
    """The source of the real images. ValueError on a bad field.

    kind: "folder" (class folders by wnid, or flat with `labels` and optionally `synsets`), "parquet" (a file or a
    folder of them), "hub" (`repo` at `revision`, validation split), "synthetic" (generated: `size` pixels, `seed`),
    "moments" (statistics without images, for fixed classes; default: those shipped with the tiny model).
    path, labels, synsets: local files. per_class: images of each class, at least 1.
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
                f"reference.path must be given for kind {self.kind!r}, got {self.path!r}; set it to the real images, "
                "or choose model=tiny, which ships its own reference"
            )


@dataclass(frozen=True)
class ReferenceSet:
    """Real images in the order of the requested classes, then by original name; `hash` over names and bytes."""

    images: tuple[EncodedImage, ...]
    class_indices: tuple[int, ...]
    hash: str

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.images)


def load_reference(
    config: ReferenceConfig, classes: Sequence[ClassLike], cache: Path
) -> ReferenceSet | ReferenceMoments:
    """The reference for `classes`. RunError that names the classes with fewer than `per_class` images."""
    if not classes:
        raise ValueError("classes must hold at least one class, got none")
    if config.kind == "moments":
        return load_moments(config.path)
    found = _find(config, classes, Path(cache))
    short = [item for item in classes if len(found.get(item.index, ())) < config.per_class]
    if short:
        raise RunError(_shortage(config, short, len(classes), found))
    chosen = [(item, image) for item in classes for image in found[item.index][: config.per_class]]
    images = tuple(image for _, image in chosen)
    digest = contents_hash((f"{item.wnid}/{image.name}" for item, image in chosen), images)
    return ReferenceSet(images, tuple(item.index for item, _ in chosen), digest)


def held_classes(config: ReferenceConfig, classes: Sequence[ClassLike], cache: Path) -> list[ClassLike]:
    """The `classes` for which the reference has at least `per_class` images (all of them if it is synthetic).

    RunError for statistics, which have no images of any class.
    """
    if config.kind == "synthetic":
        return list(classes)
    if config.kind == "moments":
        raise RunError("a reference of kind moments has no images, so it cannot name classes; list their wnids")
    found = _find(config, classes, Path(cache), report=False)
    return [item for item in classes if len(found.get(item.index, ())) >= config.per_class]


def _find(config: ReferenceConfig, classes: Sequence[ClassLike], cache: Path, *, report: bool = True) -> ImagesByClass:
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


def _shortage(config: ReferenceConfig, short: list[ClassLike], total: int, found: ImagesByClass) -> str:
    shown = "; ".join(
        f"{item.wnid} ({item.name}): found {len(found.get(item.index, ()))}, wanted {config.per_class}"
        for item in short[:5]
    )
    more = f"; and {len(short) - 5} more" if len(short) > 5 else ""
    return (
        f"the reference {config.path or config.kind} has too few images for {len(short)} of {total} classes: "
        f"{shown}{more}; add images, lower reference.per_class, or restrict the classes"
    )
