"""What a reference folder holds next to its images is counted in one line, and whatever Pillow decodes is read."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from eval.decoding import read_rgb
from eval.errors import RunError
from eval.generation.prompts import imagenet_classes
from eval.reference import ReferenceConfig
from eval.reference.files import image_endings
from eval.reference.loading import held_classes, load_reference

TENCH, GOLDFISH, SHARK = imagenet_classes()[:3]


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), "red").save(path, format=None if path.suffix.lower() in image_endings() else "PNG")


def config(path: Path, per_class: int = 1) -> ReferenceConfig:
    return ReferenceConfig(path=str(path), per_class=per_class)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_everything_passed_over_is_in_one_line(tmp_path: Path, caplog) -> None:
    root = tmp_path / "val"
    for kind in (TENCH, GOLDFISH):
        for name in ("1.JPG", "2.heic", "3", "4.npy", "more/5.png", "empty/notes.txt", ".hidden.png", "Thumbs.db"):
            save(root / kind.wnid / name)
        (root / kind.wnid / "6.png").symlink_to(tmp_path / "gone.png")
    save(root / SHARK.wnid / "1.png")
    save(root / "tench" / "1.png")
    save(root / "loose.png")
    (root / "README.txt").write_text("words")
    (root / "n99999999").symlink_to(tmp_path / "gone")
    with caplog.at_level(logging.WARNING):
        assert [p.name for p in load_reference(config(root), [TENCH, GOLDFISH], tmp_path).images] == ["1.JPG"] * 2
    (line,) = warnings(caplog)
    assert line.startswith(f"Reference folder {root}: skipped ")
    for part in (
        "6 files without an image extension (first: n01440764/2.heic)",
        "2 nested folders with images (first: n01440764/more)",
        "3 broken links (first: n01440764/6.png)",
        "1 class folders that no prompt uses (first: n01484850)",
        "1 folders with images whose name is not a WordNet id (first: tench)",
        "1 images outside of class folders (first: loose.png)",
    ):
        assert part in line
    assert "hidden" not in line
    assert "README" not in line


def test_a_folder_of_images_alone_says_nothing(tmp_path: Path, caplog) -> None:
    save(tmp_path / "val" / TENCH.wnid / "1.JPEG")
    with caplog.at_level(logging.WARNING):
        load_reference(config(tmp_path / "val"), [TENCH], tmp_path)
        held_classes(config(tmp_path / "val"), [TENCH, SHARK], tmp_path)
    assert warnings(caplog) == []


def test_a_shortage_is_explained_by_what_was_passed_over(tmp_path: Path, caplog) -> None:
    """As tiny-imagenet's training split, whose images are one folder deeper."""
    save(tmp_path / "train" / TENCH.wnid / "images" / "1.JPEG")
    with caplog.at_level(logging.WARNING), pytest.raises(RunError, match="found 0, wanted 1"):
        load_reference(config(tmp_path / "train"), [TENCH], tmp_path)
    assert "1 nested folders with images (first: n01440764/images)" in warnings(caplog)[0]


def test_a_flat_folder_is_looked_at_in_the_same_way(tmp_path: Path, caplog) -> None:
    save(tmp_path / "flat" / "a.png")
    save(tmp_path / "flat" / "b.heif")
    (tmp_path / "labels.csv").write_text("a.png,n01440764\n")
    flat = ReferenceConfig(path=str(tmp_path / "flat"), per_class=1, labels=str(tmp_path / "labels.csv"))
    with caplog.at_level(logging.WARNING):
        assert load_reference(flat, [TENCH], tmp_path).n == 1
    assert "1 files without an image extension (first: b.heif)" in warnings(caplog)[0]


@pytest.mark.parametrize("ending", [".avif", ".JP2", ".qoi", ".tga", ".jfif", ".ppm", ".WEBP", ".apng"])
def test_what_pillow_decodes_is_read(tmp_path: Path, ending: str) -> None:
    if Image.registered_extensions().get(ending.lower()) not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {ending}")
    save(tmp_path / "val" / TENCH.wnid / f"1{ending}")
    (found,) = load_reference(config(tmp_path / "val"), [TENCH], tmp_path).images
    assert read_rgb(found).getpixel((4, 4))[0] > 240


def test_documents_and_stubs_are_no_images() -> None:
    assert not image_endings() & {
        ".pdf",
        ".eps",
        ".ps",
        ".mpg",
        ".h5",
        ".hdf",
        ".wmf",
        ".emf",
        ".grib",
        ".bufr",
        ".palm",
    }
    assert {".jpeg", ".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".mpo"} <= image_endings()


def test_an_image_that_does_not_decode_is_named_with_its_folder(tmp_path: Path) -> None:
    for kind in (TENCH, GOLDFISH):
        (tmp_path / kind.wnid).mkdir()
        (tmp_path / kind.wnid / "0001.jpg").write_text("<html>404</html>")
    for kind, image in zip(
        (TENCH, GOLDFISH), load_reference(config(tmp_path), [TENCH, GOLDFISH], tmp_path).images, strict=True
    ):
        with pytest.raises(RunError, match=f"{kind.wnid}/0001.jpg does not decode"):
            read_rgb(image)
