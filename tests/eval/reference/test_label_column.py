"""Labels of parquet tables: by names where the schema has them, by ImageNet's index only where that is certain."""

import logging
from io import BytesIO
from pathlib import Path

import datasets
import pytest
from PIL import Image

from eval.errors import RunError
from eval.generation.prompts import imagenet_classes
from eval.reference import ReferenceConfig
from eval.reference.loading import load_reference

TENCH, GOLDFISH, SPRINGER, CASSETTE = (imagenet_classes()[index] for index in (0, 1, 217, 482))
IMAGENETTE = ["n01440764", "n02102040", "n02979186"]


def png() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (9, 9), "red").save(buffer, format="PNG")
    return buffer.getvalue()


def write(
    folder: Path, labels: list, feature: object, *, files: list[str] | None = None, column: str = "label"
) -> ReferenceConfig:
    files = files or [f"val_{row}.png" for row in range(len(labels))]
    rows = {"image": [{"bytes": png(), "path": file} for file in files], column: labels}
    features = datasets.Features({"image": datasets.Image(), column: feature})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "table.parquet")
    return ReferenceConfig(kind="parquet", path=str(folder / "table.parquet"), per_class=1)


def names_of(config: ReferenceConfig, classes: list, cache: Path) -> list[str]:
    return [image.name for image in load_reference(config, classes, cache).images]


@pytest.mark.parametrize(
    "names",
    [
        IMAGENETTE,
        ["tench, Tinca tinca", "English springer, English springer spaniel", "cassette player"],
        ["tench", "English_springer", "cassette player"],
        ["TENCH", "english springer", "Cassette Player"],
        ["tench", "n02102040", "n02979186"],
    ],
)
def test_a_subset_is_mapped_by_the_names_of_its_schema(tmp_path: Path, names: list[str]) -> None:
    config = write(tmp_path, [0, 1, 2], datasets.ClassLabel(names=names))
    assert names_of(config, [CASSETTE, TENCH, SPRINGER], tmp_path) == ["val_2.png", "val_0.png", "val_1.png"]
    with pytest.raises(RunError, match=r"n01443537 \(goldfish\): found 0, wanted 1"):
        load_reference(config, [GOLDFISH], tmp_path)


@pytest.mark.parametrize("column", ["label", "wnid"])
@pytest.mark.parametrize("feature", [datasets.Value("string"), datasets.ClassLabel(names=IMAGENETTE)])
def test_wnids_as_text_or_as_a_class_label_in_either_column(tmp_path: Path, column: str, feature: object) -> None:
    config = write(tmp_path, ["n02102040", "n01440764"], feature, column=column)
    assert names_of(config, [TENCH, SPRINGER], tmp_path) == ["val_1.png", "val_0.png"]


def test_a_wnid_outside_of_imagenet_is_a_class_nobody_asks_for(tmp_path: Path) -> None:
    config = write(tmp_path, ["n01440764", "n00000001"], datasets.Value("string"))
    assert names_of(config, [TENCH], tmp_path) == ["val_0.png"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tench", "apple pie"], "a class is named 'apple pie', which is not an ImageNet-1k class; add a column wnid"),
        (["crane", "tench"], r"'crane', the name of several ImageNet-1k classes \(n02012849, n03126707\)"),
        (["cat", "dog"], "'cat', which is not an ImageNet-1k class"),
    ],
)
def test_names_that_cannot_be_represented_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    config = write(tmp_path, [0, 1], datasets.ClassLabel(names=names))
    with pytest.raises(RunError, match=message):
        load_reference(config, [TENCH], tmp_path)


def test_a_thousand_names_in_imagenets_order_are_its_numbering(tmp_path: Path) -> None:
    """As torchvision's and the hub's lists, where single names are spelled otherwise or stand twice in WordNet."""
    names = [item.name.partition(",")[0] for item in imagenet_classes("wordnet")]
    names[134], names[517], names[639], names[264] = "crane", "crane2", "maillot, tank suit", "Cardigan"
    config = write(tmp_path, [517, 134, 0], datasets.ClassLabel(names=names))
    cranes = [imagenet_classes()[134], imagenet_classes()[517]]
    assert names_of(config, cranes, tmp_path) == ["val_1.png", "val_0.png"]
    swapped = names[1:2] + names[:1] + names[2:]
    config = write(tmp_path, [1], datasets.ClassLabel(names=swapped))
    with pytest.raises(RunError, match="'crane', the name of several"):
        load_reference(config, [TENCH], tmp_path)


def test_a_thousand_numbered_names_are_numbers(tmp_path: Path) -> None:
    config = write(tmp_path, [217, 0], datasets.ClassLabel(num_classes=1000))
    assert names_of(config, [TENCH, SPRINGER], tmp_path) == ["val_1.png", "val_0.png"]
    with pytest.raises(RunError, match="the numbers 0 to 2 have no names"):
        load_reference(write(tmp_path, [0, 1, 2], datasets.ClassLabel(num_classes=3)), [TENCH], tmp_path)


def test_numbers_are_an_index_where_they_can_only_be_that(tmp_path: Path) -> None:
    config = write(tmp_path, [482, 217], datasets.Value("int64"))
    assert names_of(config, [SPRINGER], tmp_path) == ["val_1.png"]
    whole = write(tmp_path, list(range(1000)), datasets.Value("int16"))
    assert names_of(whole, [SPRINGER], tmp_path) == ["val_217.png"]


@pytest.mark.parametrize(
    ("labels", "feature", "message"),
    [
        (
            [0, 1, 2],
            "int64",
            "the numbers 0 to 2 have no names and may be ImageNet's index or the numbering of a subset",
        ),
        ([1, 2, 3], "int64", "the numbers 1 to 3 have no names"),
        ([7, 1000], "int64", "1000 is not an index of ImageNet-1k \\(0 to 999\\)"),
        ([-2, 7], "int64", "-2 is not an index"),
        ([0.5, 7.0], "float32", "must contain integers or names of classes, got float"),
        ([True, False], "bool", "got bool"),
    ],
)
def test_inexact_numbers_are_refused(tmp_path: Path, labels: list, feature: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        load_reference(write(tmp_path, labels, datasets.Value(feature)), [TENCH], tmp_path)


def test_file_names_with_wnids_decide_about_numbers(tmp_path: Path) -> None:
    own = ["n01440764_36.JPEG", "val/ILSVRC2012_val_00000293_n01443537.JPEG"]
    config = write(tmp_path, [0, 1], datasets.Value("int64"), files=own)
    assert names_of(config, [GOLDFISH], tmp_path) == ["ILSVRC2012_val_00000293_n01443537.JPEG"]
    other = ["train/n01440764/36.JPEG", "train/n02102040/36.JPEG"]
    with pytest.raises(RunError, match="1 labels an image of n02102040, whose index in ImageNet-1k is 217"):
        load_reference(write(tmp_path, [0, 1], datasets.Value("int64"), files=other), [GOLDFISH], tmp_path)


@pytest.mark.parametrize("feature", [datasets.ClassLabel(names=IMAGENETTE), datasets.Value("int64")])
def test_a_test_split_is_refused_and_single_gaps_are_counted(tmp_path: Path, feature: object, caplog) -> None:
    with pytest.raises(RunError, match=r"has no labels: column label is -1 or null in all 2 rows, as in a test split"):
        load_reference(write(tmp_path, [-1, -1], feature), [TENCH], tmp_path)
    config = write(tmp_path, [-1, 0, None], feature)
    with caplog.at_level(logging.WARNING):
        assert names_of(config, [TENCH], tmp_path) == ["val_1.png"]
    assert "2 of 3 rows have no label and are left out" in caplog.text


def test_images_that_are_not_encoded_are_refused(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Array2D((2, 2), "uint8"), "wnid": datasets.Value("string")})
    rows = {"image": [[[0, 1], [2, 3]]], "wnid": ["n01440764"]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "arrays.parquet")
    with pytest.raises(RunError, match="not encoded images; write it as"):
        load_reference(ReferenceConfig(kind="parquet", path=str(tmp_path / "arrays.parquet")), [TENCH], tmp_path)


@pytest.mark.parametrize("kind", [datasets.Value("binary"), {"bytes": datasets.Value("binary")}])
def test_bytes_without_the_librarys_own_schema_are_read(tmp_path: Path, kind: object) -> None:
    image = png() if isinstance(kind, datasets.Value) else {"bytes": png()}
    features = datasets.Features({"image": kind, "wnid": datasets.Value("string")})
    rows = {"image": [image], "wnid": ["n01440764"]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "bytes.parquet")
    config = ReferenceConfig(kind="parquet", path=str(tmp_path / "bytes.parquet"), per_class=1)
    (found,) = load_reference(config, [TENCH], tmp_path).images
    assert found.read() == png()
