from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from eval.decoding import ImageSet, ScoredImage, contents_hash, decode, read_rgb
from eval.errors import RunError


def _encoded(image, form="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def _noise(mode="RGB", size=(12, 8)):
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), mode=mode)


def test_rgb_keeps_its_pixels():
    image = _noise()
    assert np.array_equal(np.asarray(decode(_encoded(image), "a")), np.asarray(image))


def test_grey_has_three_equal_channels():
    pixels = np.asarray(decode(_encoded(_noise("L")), "a"))
    assert pixels.shape == (8, 12, 3)
    assert (pixels == np.asarray(_noise("L"))[..., None]).all()


def test_sixteen_bit_grey_is_scaled():
    deep = Image.fromarray(np.full((4, 4), 0x8040, dtype=np.uint16))
    assert (np.asarray(decode(_encoded(deep), "a")) == 0x80).all()


def test_cmyk_jpeg_becomes_rgb():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red ink
    red, green, blue = decode(_encoded(image, "JPEG", quality=95), "a").getpixel((8, 8))
    assert red > 240
    assert max(green, blue) < 15


def test_exif_orientation_is_applied():
    image = _noise(size=(12, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    upright = decode(_encoded(image, exif=exif), "a")
    assert upright.size == (8, 12)
    assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(image), -1))


def test_palette_and_transparency_are_laid_on_white():
    palette = _noise().quantize(8)
    assert decode(_encoded(palette), "a").mode == "RGB"
    palette.info["transparency"] = bytes([0] * 8)
    assert (np.asarray(decode(_encoded(palette, transparency=bytes([0] * 8)), "a")) == 255).all()
    assert decode(_encoded(Image.new("RGBA", (3, 3), (255, 0, 0, 0))), "a").getpixel((1, 1)) == (255, 255, 255)


def test_one_pixel_is_an_image():
    assert decode(_encoded(Image.new("L", (1, 1), 7)), "a").getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.6])
def test_truncated_files_are_named(form, keep):
    data = _encoded(_noise(size=(64, 64)), form)
    with pytest.raises(RunError, match=r"image n01440764/b\.x does not decode"):
        decode(data[: int(len(data) * keep)], "n01440764/b.x")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunError, match=r"gone\.png cannot be read"):
        read_rgb(ScoredImage("0000_000", 0, "", tmp_path / "gone.png"))


def test_hash_follows_bytes_labels_and_order(tmp_path):
    images = []
    for index in range(2):
        path = tmp_path / f"{index}.png"
        path.write_bytes(bytes([index]))
        images.append(ScoredImage(str(index), index, "text", path))
    first = ImageSet(tuple(images)).hash
    assert first == ImageSet(tuple(images)).hash
    assert first != ImageSet(tuple(images[::-1])).hash
    assert contents_hash(["a", "b"], images) != contents_hash(["a", "c"], images)
    images[1].path.write_bytes(b"other")
    assert first != ImageSet(tuple(images)).hash


def test_a_key_twice_is_refused(tmp_path):
    image = ScoredImage("0", 0, "", tmp_path / "0.png")
    with pytest.raises(ValueError, match="twice"):
        ImageSet((image, image))
