"""Every mode that Pillow opens has a stated rule (eval/generation/images.py): each is held against a known value."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from eval.decoding import _Stored, _to_rgb, decode
from eval.errors import RunError

RED, GREY, WHITE = (200, 40, 10), (128, 128, 128), (255, 255, 255)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def png(bits: int, colour: int, rows: bytes, *, key: tuple[int, ...] = (), side: int = 2) -> bytes:
    """A PNG of `side` x `side` from packed rows, with a transparent colour where one is given."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width = len(rows) // side
    lines = b"".join(b"\0" + rows[row * width : (row + 1) * width] for row in range(side))
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + transparent + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def grey_tiff(bits: int, photometric: int, pixels: bytes, side: int = 2) -> bytes:
    """A little-endian TIFF of one uncompressed strip."""
    tags = [(256, side), (257, side), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1)]
    tags += [(278, side), (279, len(pixels)), (339, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    ifd = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + ifd


def corner(data: bytes) -> tuple[int, int, int]:
    return decode(data, "a").getpixel((0, 0))


def corners(data: bytes) -> list[tuple[int, int, int]]:
    found = decode(data, "a")
    return [found.getpixel((x, y)) for y in range(2) for x in range(2)]


def near(found: tuple[int, ...], wanted: tuple[int, ...], by: int = 3) -> bool:
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= by


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_in_every_format(form: str) -> None:
    assert corner(encoded(Image.fromarray(np.full((2, 2), 0x80FF, np.uint16)), form)) == GREY


def test_sixteen_bit_grey_of_the_other_byte_order() -> None:
    big = Image.frombytes("I;16B", (2, 2), b"\x80\x00" * 4)
    assert corner(encoded(big, "TIFF")) == GREY


def test_a_transparent_level_of_sixteen_bits_is_white_and_its_neighbours_are_not() -> None:
    rows = struct.pack(">4H", 0x1000, 0x1001, 0x8000, 0x1000)
    assert corners(png(16, 0, rows, key=(0x1000,))) == [WHITE, (16, 16, 16), GREY, WHITE]


@pytest.mark.parametrize(
    ("bits", "rows", "key", "wanted"),
    [
        (1, b"\x80\x80", 1, [WHITE, (0, 0, 0)] * 2),
        (2, b"\x90\x90", 2, [WHITE, (85, 85, 85)] * 2),
        (4, b"\x3c\x3c", 3, [WHITE, (204, 204, 204)] * 2),
        (8, b"\x03\x0c\x03\x0c", 3, [WHITE, (12, 12, 12)] * 2),
    ],
)
def test_a_transparent_level_of_few_bits(bits: int, rows: bytes, key: int, wanted: list) -> None:
    assert corners(png(bits, 0, rows, key=(key,))) == wanted


def test_sixteen_bit_rgb_png() -> None:
    rows = struct.pack(">3H", 200 << 8, 40 << 8, (10 << 8) + 255) * 4
    assert corner(png(16, 2, rows)) == RED
    with pytest.raises(RunError, match="image a has 16 bits a channel and a transparent colour; convert it"):
        decode(png(16, 2, rows, key=(0, 0, 0)), "a")


def test_sixteen_bit_png_with_alpha_is_laid_on_white() -> None:
    half = struct.pack(">2H", 0, 0x8000) * 4
    assert near(corner(png(16, 4, half)), (127, 127, 127))
    assert corner(png(16, 6, struct.pack(">4H", 200 << 8, 40 << 8, 10 << 8, 0xFFFF) * 4)) == RED


def test_sixteen_bit_rgb_tiff() -> None:
    pixels = struct.pack("<3H", 200 << 8, 40 << 8, 10 << 8) * 4
    tags = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, len(pixels))]
    place = 8 + len(pixels) + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", *(*tag[:3], place if tag[0] == 258 else tag[3])) for tag in tags)
    ifd = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + struct.pack("<3H", 16, 16, 16)
    assert corner(struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + ifd) == RED


def test_twelve_bits_and_white_is_zero() -> None:
    twelve = bytes([0x80, 0x08, 0x00])  # two pixels of 0x800
    assert near(corner(grey_tiff(12, 1, twelve * 2)), GREY)
    assert corner(grey_tiff(16, 0, struct.pack("<4H", *[0x2000] * 4))) == (223, 223, 223)
    assert corner(grey_tiff(8, 0, b"\x20" * 4)) == (223, 223, 223)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_floats_and_wide_integers_are_refused(mode: str) -> None:
    image = Image.new(mode, (2, 2), 1)
    with pytest.raises(RunError, match=r"image wide\.tif holds (floats|32-bit integers), whose black and white"):
        decode(encoded(image, "TIFF"), "wide.tif")


def test_floats_of_another_format_are_refused() -> None:
    with pytest.raises(RunError, match="holds floats"):
        decode(b"Pf\n2 2\n-1.0\n" + np.ones(4, "<f4").tobytes(), "a.pfm")


@pytest.mark.skipif(not features.check("littlecms2"), reason="this Pillow has no LittleCMS")
def test_lab_is_converted_to_srgb() -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.new("RGB", (4, 4), RED), *profiles, outputMode="LAB")
    assert near(corner(encoded(lab, "TIFF")), RED, 4)
    # L* = 53.6 is sRGB 128, whoever converts it
    assert near(corner(encoded(Image.new("LAB", (4, 4), (137, 128, 128)), "TIFF")), GREY)


def test_ycbcr_tiff() -> None:
    # ITU-R BT.601 by hand: Y = 0.299 R + 0.587 G + 0.114 B
    assert near(corner(encoded(Image.new("YCbCr", (4, 4), (84, 86, 210)), "TIFF")), RED)


def test_cmyk_tiff() -> None:
    assert corner(encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF")) == (255, 0, 0)


def test_cmyk_jpeg_is_inverted_by_adobes_marker_alone() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert near(corner(data), (255, 0, 0), 8)
    start = data.index(b"\xff\xee")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    plain = data[:start] + data[start + 2 + length :]
    # Without the marker the same samples are ink itself: 255 - (0, 255, 255, 0) is cyan and black.
    assert near(corner(plain), (0, 0, 0), 8)


def test_one_bit() -> None:
    assert corner(encoded(Image.new("1", (4, 4), 1), "PNG")) == WHITE
    assert corner(encoded(Image.new("1", (4, 4), 0), "TIFF")) == (0, 0, 0)


def test_grey_with_alpha() -> None:
    assert corner(encoded(Image.new("LA", (4, 4), (0, 0)), "PNG")) == WHITE
    assert near(corner(encoded(Image.new("LA", (4, 4), (0, 128)), "TIFF")), (127, 127, 127))


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "HSV"])
def test_modes_that_files_seldom_open_in(mode: str) -> None:
    half = {"La": (0, 128), "RGBa": (0, 0, 0, 128), "PA": (0, 128), "HSV": (0, 0, 127)}[mode]
    image = Image.new(mode, (2, 2), half)
    if mode == "PA":
        image.putpalette([0, 0, 0] * 256)
    assert near(_to_rgb(image, _Stored.of(image), "a").getpixel((0, 0)), (127, 127, 127))


def test_a_mode_without_a_rule_is_refused() -> None:
    image = Image.new("I", (2, 2)).convert("F")
    with pytest.raises(RunError, match="holds floats"):
        _to_rgb(image, _Stored.of(image), "a")


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_of_several_frames_is_read(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255), WHITE)]
    data = encoded(
        frames[0], form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "WEBP" else {})
    )
    assert near(corner(data), RED)


def test_what_is_no_image_has_no_address_in_its_message() -> None:
    with pytest.raises(RunError, match=r"image a does not decode \(no image format is recognised\); replace"):
        decode(b"<html>404</html>", "a")
