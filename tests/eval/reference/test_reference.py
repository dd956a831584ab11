import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import datasets
import pytest
from PIL import Image

from eval.decoding import read_rgb
from eval.errors import RunError
from eval.reference import ReferenceConfig
from eval.reference.loading import held_classes, load_reference

REAL = Path(__file__).parents[3].parent / "shared" / "data"


@dataclass(frozen=True)
class Kind:
    index: int
    wnid: str
    name: str


TENCH, FISH, SHARK = Kind(0, "n01440764", "tench"), Kind(1, "n01443537", "goldfish"), Kind(2, "n01484850", "shark")


def _save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), (value, 0, 0)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images, written in an order that is not that of their names, and what does not belong."""
    root = tmp_path / "val"
    for kind in (TENCH, FISH):
        for number in (3, 1, 2):
            _save(root / kind.wnid / f"ILSVRC2012_val_{number:08d}.JPEG", 10 * number)
        (root / kind.wnid / "Thumbs.db").write_text("stray")
        (root / kind.wnid / ".hidden.JPEG").write_text("stray")
    return root


def _config(path, **options):
    return ReferenceConfig(**{"kind": "folder", "path": str(path), "per_class": 2, **options})


def test_takes_the_first_by_name_in_the_order_of_the_classes(folder, tmp_path):
    found = load_reference(_config(folder), [FISH, TENCH], tmp_path)
    assert [Path(image.name).stem[-1] for image in found.images] == ["1", "2", "1", "2"]
    assert found.class_indices == (1, 1, 0, 0)
    assert found.n == 4
    assert load_reference(_config(folder), [TENCH], tmp_path).n == 2


def test_hash_follows_names_bytes_and_classes(folder, tmp_path):
    first = load_reference(_config(folder), [TENCH, FISH], tmp_path).hash
    assert first == load_reference(_config(folder), [TENCH, FISH], tmp_path).hash
    assert first != load_reference(_config(folder), [TENCH], tmp_path).hash
    _save(folder / TENCH.wnid / "ILSVRC2012_val_00000001.JPEG", 99)
    assert first != load_reference(_config(folder), [TENCH, FISH], tmp_path).hash


def test_a_shortage_names_class_found_and_wanted(folder, tmp_path):
    with pytest.raises(RunError, match=r"n01440764 \(tench\): found 3, wanted 4; n01443537 .* found 3, wanted 4"):
        load_reference(_config(folder, per_class=4), [TENCH, FISH], tmp_path)
    with pytest.raises(RunError, match=r"1 of 2 classes: n01484850 \(shark\): found 0, wanted 2"):
        load_reference(_config(folder), [TENCH, SHARK], tmp_path)


def test_held_classes_are_those_with_enough(folder, tmp_path):
    (folder / FISH.wnid / "ILSVRC2012_val_00000003.JPEG").unlink()
    assert held_classes(_config(folder), [SHARK, FISH, TENCH], tmp_path) == [FISH, TENCH]
    assert held_classes(_config(folder, per_class=3), [FISH, TENCH], tmp_path) == [TENCH]


def test_an_image_that_does_not_decode_is_named(folder, tmp_path):
    (folder / TENCH.wnid / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"no image")
    found = load_reference(_config(folder), [TENCH], tmp_path)
    with pytest.raises(RunError, match=r"ILSVRC2012_val_00000001\.JPEG does not decode"):
        read_rgb(found.images[0])


def test_a_flat_folder_with_labels_gives_the_same(folder, tmp_path):
    flat = tmp_path / "flat"
    lines = ["ImageId,PredictionString"]
    for number, kind in enumerate((FISH, TENCH, TENCH, FISH, FISH), start=1):
        _save(flat / f"ILSVRC2012_val_{number:08d}.JPEG", number)
        lines.append(f"ILSVRC2012_val_{number:08d},{kind.wnid} 1 2 3 4")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(lines))
    found = load_reference(_config(flat, labels=str(labels)), [TENCH, FISH], tmp_path)
    assert [int(Path(image.name).stem[-1]) for image in found.images] == [2, 3, 1, 4]
    with pytest.raises(RunError, match="is flat; set the labels"):
        load_reference(_config(flat), [TENCH], tmp_path)


def _parquet(path, rows, features):
    datasets.Dataset.from_list(rows, features=datasets.Features(features)).to_parquet(path)


def _bytes(value):
    buffer = BytesIO()
    Image.new("RGB", (9, 9), (value, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_parquet_by_original_name_or_by_row(tmp_path):
    features = {"image": datasets.Image(), "label": datasets.Value("int32"), "wnid": datasets.Value("string")}
    rows = [
        {"image": {"bytes": _bytes(number), "path": f"val_{number}.png"}, "label": 0, "wnid": TENCH.wnid}
        for number in (3, 1, 2)
    ]
    _parquet(tmp_path / "named.parquet", rows, features)
    config = _config(tmp_path / "named.parquet", kind="parquet")
    assert [image.name for image in load_reference(config, [TENCH], tmp_path).images] == ["val_1.png", "val_2.png"]
    assert held_classes(config, [TENCH, FISH], tmp_path) == [TENCH]
    for row in rows:
        row["image"] = {"bytes": row["image"]["bytes"], "path": None}
        del row["wnid"]
    del features["wnid"]
    _parquet(tmp_path / "rows.parquet", rows, features)
    found = load_reference(_config(tmp_path / "rows.parquet", kind="parquet"), [TENCH], tmp_path)
    assert [read_rgb(image).getpixel((0, 0))[0] for image in found.images] == [3, 1]


def test_parquet_that_is_none(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot be read as parquet"):
        load_reference(_config(tmp_path / "bad.parquet", kind="parquet"), [TENCH], tmp_path)
    with pytest.raises(RunError, match="neither a parquet file nor a folder"):
        load_reference(_config(tmp_path / "gone.parquet", kind="parquet"), [TENCH], tmp_path)


def test_the_hub_without_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match="reference ILSVRC/imagenet-1k cannot be downloaded from the model hub"):
        load_reference(ReferenceConfig(kind="hub"), [TENCH], tmp_path)


def test_generated_images_are_files_in_imagenets_shape(tmp_path):
    config = ReferenceConfig(kind="synthetic", per_class=2, size=32)
    found = load_reference(config, [TENCH, SHARK], tmp_path)
    assert found.n == 4
    assert {read_rgb(image).size for image in found.images} == {(32, 32)}
    assert len({image.read() for image in found.images}) == 4
    again = load_reference(config, [TENCH, SHARK], tmp_path / "elsewhere")
    assert again.hash == found.hash
    assert load_reference(ReferenceConfig(kind="synthetic", per_class=2, size=32, seed=1), [TENCH], tmp_path).n == 2
    more = load_reference(ReferenceConfig(kind="synthetic", per_class=3, size=32), [TENCH], tmp_path)
    assert [image.name for image in more.images][:2] == [image.name for image in found.images[:2]]
    assert held_classes(config, [TENCH, SHARK], tmp_path) == [TENCH, SHARK]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"kind": "zip"}, "kind must be one of"),
        ({"kind": "folder"}, "path must be given"),
        ({"kind": "hub", "per_class": 0}, "per_class must be an integer of at least 1, got 0"),
    ],
)
def test_bad_configs(bad, message):
    with pytest.raises(ValueError, match=message):
        ReferenceConfig(**bad)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        load_reference(_config(tmp_path / "gone"), [TENCH], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="neither class folders"):
        load_reference(_config(tmp_path / "empty"), [TENCH], tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images are not on this machine")
def test_real_images(tmp_path):
    folder = load_reference(_config(REAL / "imagenet-1k-sample", per_class=1), [TENCH, FISH], tmp_path)
    assert folder.n == 2
    assert min(read_rgb(folder.images[0]).size) <= 256
    parquet = _config(REAL / "tiny-imagenet-20" / "val.parquet", kind="parquet", per_class=5)
    found = load_reference(parquet, [FISH], tmp_path)
    assert found.n == 5
    names = [image.name for image in found.images]
    assert names == sorted(names)
    assert read_rgb(found.images[0]).size == (64, 64)


def test_a_parquet_file_exchanged_with_its_time_unchanged_is_read_again(tmp_path):
    path = tmp_path / "images.parquet"
    features = {"image": datasets.Image(), "label": datasets.Value("int32")}
    hashes = []
    for first in (1, 5):
        rows = [{"image": {"bytes": _bytes(first + n), "path": f"val_{n}.png"}, "label": 0} for n in range(2)]
        _parquet(path, rows, features)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        hashes.append(load_reference(_config(path, kind="parquet"), [TENCH], tmp_path).hash)
    assert hashes[0] != hashes[1]
