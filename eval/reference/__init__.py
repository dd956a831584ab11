"""The real images that generated images are compared with: exactly `per_class` per class, or an error.

The first images by original file name are used, as in the released ATC code (`sorted(files)[:5]` per class folder).
Distances to other real images are not comparable. The hash over names and bytes identifies the selection.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.checks import check_integer, check_text

if TYPE_CHECKING:
    from eval.decoding import EncodedImage

KINDS = ("folder", "parquet", "hub", "synthetic", "moments")


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

    images: tuple["EncodedImage", ...]
    class_indices: tuple[int, ...]
    hash: str

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.images)
