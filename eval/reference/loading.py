"""Finds the images of a reference, exactly `per_class` per class, or reads its statistics."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from eval.decoding import contents_hash
from eval.errors import RunError
from eval.reference import ReferenceConfig, ReferenceSet
from eval.reference.moments import ReferenceMoments, load_moments
from eval.reference.sources import ImagesByClass, from_folder, from_hub, from_parquet
from eval.reference.synthetic import write_synthetic


class ClassLike(Protocol):
    """An ImageNet class, such as `eval.generation.prompts.ImageClass`: index 0..999, wnid, name."""

    @property
    def index(self) -> int: ...
    @property
    def wnid(self) -> str: ...
    @property
    def name(self) -> str: ...


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
