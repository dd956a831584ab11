"""PNG files: marks, checks, and what is foreign."""

import numpy as np
import pytest
from PIL import Image

from eval.generation.images import CONSTANT, NAN, is_intact, read_flag, to_uint8, verify, write_png
from eval.generation.prompts import PromptSet

ITEMS = PromptSet(classes=2, images_per_class=2).items()


def noise(seed=0, side=64):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_written_pixels_come_back(tmp_path):
    write_png(tmp_path / "a.png", noise())
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), noise())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert is_intact(tmp_path / "a.png", (64, 64))
    assert not is_intact(tmp_path / "a.png", (64, 32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_black_and_flagged(value):
    image = np.full((8, 8, 3), 0.5, np.float32)
    image[3, 3, 1] = value
    pixels, flag = to_uint8(image)
    assert (pixels.max(), flag) == (0, NAN)


def test_rounding_is_that_of_diffusers():
    from diffusers.image_processor import VaeImageProcessor

    image = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    expected = np.asarray(VaeImageProcessor.numpy_to_pil(image)[0])
    assert np.array_equal(to_uint8(image)[0], expected)


@pytest.mark.parametrize("flag", [NAN, CONSTANT])
def test_a_flag_is_saved_in_the_file(tmp_path, flag):
    write_png(tmp_path / "a.png", noise(), flag)
    assert read_flag(tmp_path / "a.png") == flag
    write_png(tmp_path / "a.png", noise())
    assert read_flag(tmp_path / "a.png") is None


@pytest.mark.parametrize("side", [64, 512])
def test_an_unmarked_constant_image_is_seen(tmp_path, side):
    Image.new("RGB", (side, side), (7, 8, 9)).save(tmp_path / "a.png")
    assert read_flag(tmp_path / "a.png") == CONSTANT
    nearly = np.full((side, side, 3), 7, np.uint8)
    nearly[-1, -1, 0] = 8
    write_png(tmp_path / "a.png", nearly)
    assert read_flag(tmp_path / "a.png") is None


def test_verify_sorts_a_folder_and_changes_nothing(tmp_path):
    write_png(tmp_path / ITEMS[0].file, noise())
    write_png(tmp_path / ITEMS[1].file, noise()[:32])
    (tmp_path / ITEMS[2].file).write_bytes(b"\x89PNG")
    (tmp_path / "holiday.png").write_bytes(b"mine")
    (tmp_path / "notes").mkdir()
    (tmp_path / f".{ITEMS[3].file}.x.tmp").write_bytes(b"")
    before = sorted(path.name for path in tmp_path.iterdir())
    check = verify(ITEMS, tmp_path, size=(64, 64))
    assert check.intact == 1
    assert check.missing == (ITEMS[3].file,)
    assert check.broken == (ITEMS[1].file, ITEMS[2].file)
    assert check.foreign == ("holiday.png", "notes")
    assert not check.complete
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_absent_folder_misses_everything(tmp_path):
    check = verify(ITEMS, tmp_path / "none")
    assert (len(check.missing), check.intact, check.invalid_share) == (4, 0, 0.0)
