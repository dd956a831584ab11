"""A folder of random images in the format of the training data, and a training so short that it takes seconds."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from training.choices import STAGES, LoopConfig, TrainingConfig
from training.networks import denoiser
from training.stages import Training

CLASSES = ((1, "n01443537", "goldfish"), (950, "n07747607", "orange"))
SHORT = LoopConfig(steps=2, batch=2, lr=1e-3, warmup=1, decay=0.0, ema=0.5)


def write_split(folder: Path, split: str, n: int, classes: tuple = CLASSES) -> Path:
    """`n` random images, of the classes in turn, in folder/split.parquet."""
    draw = np.random.default_rng(n)
    rows = []
    for number in range(n):
        data = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(data, "JPEG")
        label, wnid, name = classes[number % len(classes)]
        image = {"bytes": data.getvalue(), "path": f"{number}.JPEG"}
        rows.append({"image": image, "label": label, "wnid": wnid, "name": name})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A folder with 12 random images to learn from and 12 held out."""
    folder = tmp_path_factory.mktemp("images")
    write_split(folder, "train", 12)
    return write_split(folder, "val", 12)


def training_of(data: Path, out: Path, loop: LoopConfig = SHORT, **values: object) -> Training:
    """A training with the same loop for every stage, in float32."""
    loops = dict.fromkeys(STAGES, loop)
    return Training(TrainingConfig(str(data), str(out), **loops, **({"dtype": "float32"} | values)))


@pytest.fixture(scope="session", autouse=True)
def _small_denoiser() -> Iterator[None]:
    """Few channels: what is tested does not depend on them, and checkpoints are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(denoiser.UNET, "block_out_channels", (16, 16, 16))
        yield


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory) -> Training:
    """A training whose four stages took two steps each."""
    training = training_of(data, tmp_path_factory.mktemp("trained"))
    for stage in ("autoencoder", "clip", "classifier", "denoiser"):
        training.run(stage)
    return training
