"""The training images of the tiny model: parquet files whose rows have JPEG bytes, an ImageNet label and a WordNet id.

A folder contains `train.parquet` and `val.parquet` with the columns image {bytes, path}, label (ImageNet-1k index) and
wnid. Class names and therefore prompts are those of the harness (`eval.generation.prompts`).
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from eval.errors import RunError
from eval.generation.prompts import ImageClass, PromptSet, imagenet_classes

SIDE = 64
COLUMNS = ("image", "label", "wnid")


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images of one split.

    pixels: uint8 [N, 3, 64, 64]; labels: int64 [N], the index in `classes`; classes: in ImageNet order; hash: sha256
    (hex) over the files' bytes in order.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    classes: tuple[ImageClass, ...]
    hash: str

    def __len__(self) -> int:
        return len(self.labels)

    def prompts(self) -> list[str]:
        """One prompt per class, by the harness's template."""
        prompts = PromptSet(images_per_class=1, classes=[chosen.wnid for chosen in self.classes])
        return [item.prompt for item in prompts.items()]


def load_images(path: str | Path, split: str) -> LabelledImages:
    """The images of `path`/`split`.parquet. RunError if the file, a column or an image is missing or damaged."""
    rows = _rows(Path(path) / f"{split}.parquet")
    known = {chosen.wnid: chosen for chosen in imagenet_classes()}
    for row in rows:
        if row["wnid"] not in known or known[row["wnid"]].index != row["label"]:
            raise RunError(f"{split}.parquet: wnid {row['wnid']} with label {row['label']} is not an ImageNet-1k class")
    classes = tuple(sorted({known[row["wnid"]] for row in rows}, key=lambda chosen: chosen.index))
    place = {chosen.wnid: number for number, chosen in enumerate(classes)}
    return LabelledImages(
        pixels=torch.from_numpy(np.stack([_decode(row, split) for row in rows])).permute(0, 3, 1, 2).contiguous(),
        labels=torch.tensor([place[row["wnid"]] for row in rows]),
        classes=classes,
        hash=hashlib.sha256(b"".join(row["image"]["bytes"] for row in rows)).hexdigest(),
    )


def to_signed(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 images [B, 3, H, W] as float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def _rows(file: Path) -> list[dict]:
    if not file.is_file():
        raise RunError(f"{file} does not exist; data must name a folder with train.parquet and val.parquet")
    try:
        rows = pyarrow.parquet.read_table(file, columns=list(COLUMNS)).to_pylist()
    except (pyarrow.ArrowInvalid, pyarrow.lib.ArrowKeyError) as error:
        raise RunError(f"{file} is not a parquet file with the columns {', '.join(COLUMNS)}: {error}") from error
    if not rows:
        raise RunError(f"{file} has no images")
    return rows


def _decode(row: dict, split: str) -> np.ndarray:
    try:
        image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise RunError(f"{split}.parquet: {row['image']['path']} is not a readable image: {error}") from error
    return np.asarray(ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.BICUBIC))  # [64, 64, 3]
