"""Every picture kind gives RGB 0..255 upright; every bad one a line that says why."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from deepgaze_jax.errors import InputError
from deepgaze_jax.images import load_image, rgb_sha256

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, bit_depth, colour_type, rows, extra=b""):
    """A PNG written by hand, for the kinds that Pillow cannot write."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )


def over_white(rgb, alpha):
    """The definition of compositing, pixel by pixel."""
    out = np.zeros((*alpha.shape, 3))
    for y in range(alpha.shape[0]):
        for x in range(alpha.shape[1]):
            a = alpha[y, x] / 255
            out[y, x] = a * rgb[y, x] + (1 - a) * 255.0
    return out


def as_rgb(grey):
    return np.repeat(np.asarray(grey, np.float64)[..., None], 3, axis=2)


def check(source, expected, atol=0.0):
    image = load_image(source)
    assert image.dtype == np.float32
    assert image.flags.writeable and image.flags.c_contiguous
    assert image.shape == expected.shape
    np.testing.assert_allclose(image, expected, rtol=0, atol=atol)


def refused(source, *words, **options):
    with pytest.raises(InputError) as caught:
        load_image(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_rgb_is_exact_in_lossless_formats(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    check(encoded(Image.fromarray(RGB), kind, **options), RGB)


def test_grey():
    check(encoded(Image.fromarray(GREY)), as_rgb(GREY))


def test_grey_with_alpha_is_laid_over_white():
    image = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    check(encoded(image), over_white(as_rgb(GREY), ALPHA), atol=1e-4)


def test_rgba_is_laid_over_white():
    image = Image.fromarray(np.dstack([RGB, ALPHA]))
    check(encoded(image), over_white(RGB, ALPHA), atol=1e-4)


def test_opaque_alpha_changes_nothing():
    check(encoded(Image.fromarray(np.dstack([RGB, np.full_like(ALPHA, 255)]))), RGB)


def test_transparent_pixels_are_white_whatever_their_colour():
    image = load_image(np.dstack([RGB, np.zeros_like(ALPHA)]))
    np.testing.assert_array_equal(image, 255)


def test_premultiplied_modes():
    image = Image.fromarray(np.dstack([RGB, ALPHA | 128])).convert("RGBa")
    check(image, over_white(RGB, ALPHA | 128), atol=1.1)
    grey = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA | 128)])
    check(grey.convert("La"), over_white(as_rgb(GREY), ALPHA | 128), atol=1.1)


@pytest.fixture
def palette():
    indices = RNG.integers(0, 4, (5, 7), dtype=np.uint8)
    colours = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 200]])
    image = Image.frombytes("P", (7, 5), indices.tobytes())
    image.putpalette(colours.ravel().tolist())
    return image, indices, colours


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette(palette, kind):
    image, indices, colours = palette
    check(encoded(image, kind), colours[indices])


def test_palette_with_one_transparent_colour(palette):
    image, indices, colours = palette
    expected = np.where((indices == 2)[..., None], 255, colours[indices])
    check(encoded(image, "PNG", transparency=2), expected)


def test_palette_with_alpha_per_colour(palette):
    image, indices, colours = palette
    alphas = np.array([0, 128, 255, 64])
    check(
        encoded(image, "PNG", transparency=bytes(alphas.tolist())),
        over_white(colours[indices], alphas[indices]),
        atol=1e-4,
    )


def test_grey_with_transparent_level():
    expected = np.where((GREY == GREY[0, 0])[..., None], 255, as_rgb(GREY))
    check(encoded(Image.fromarray(GREY), transparency=int(GREY[0, 0])), expected)


def test_one_bit():
    bits = GREY > 127
    check(encoded(Image.fromarray(bits)), as_rgb(bits * 255))


LEVELS = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_fractions(kind):
    levels = LEVELS.copy()
    levels[0, :3] = 0, 65535, 128
    image = load_image(encoded(Image.fromarray(levels), kind))
    np.testing.assert_allclose(image, as_rgb(levels / 257.0), rtol=0, atol=2e-5)
    assert image[0, 1, 0] == 255 and 0 < image[0, 2, 0] < 0.5


def test_16_bit_grey_nearly_black_is_still_a_picture():
    levels = np.full((4, 4), 100, np.uint16)
    np.testing.assert_allclose(load_image(Image.fromarray(levels)), 100 / 257)


def test_16_bit_big_endian_tiff():
    big = Image.frombytes("I;16B", (7, 5), LEVELS.astype(">u2").tobytes())
    check(big, as_rgb(LEVELS / 257.0), atol=2e-5)


def test_32_bit_integer_grey_is_read_as_16_bit():
    check(Image.fromarray(LEVELS.astype(np.int32)), as_rgb(LEVELS / 257.0), atol=2e-5)
    too_large = Image.fromarray(np.full((3, 3), 70000, np.int32))
    refused(too_large, "70000", "16 bit")


def test_16_bit_grey_png_with_transparent_level():
    rows = [row.astype(">u2").tobytes() for row in LEVELS]
    key = struct.pack(">H", LEVELS[2, 3])
    body = b"tRNS" + key
    extra = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    image = load_image(png(7, 5, 16, 0, rows, extra))
    expected = as_rgb(LEVELS / 257.0)
    expected[LEVELS == LEVELS[2, 3]] = 255
    np.testing.assert_allclose(image, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_16_bit_colour_png_is_within_one_level(colour_type, channels):
    levels = RNG.integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    if channels != 3:
        levels[..., -1] = 65535
    rows = [row.astype(">u2").tobytes() for row in levels]
    colours = levels if channels == 3 else levels[..., :-1]
    expected = np.broadcast_to(colours / 257.0, (5, 7, 3))
    check(png(7, 5, 16, colour_type, rows), expected, atol=1.0)


def smooth_rgb():
    y, x = np.mgrid[:32, :48]
    return np.dstack([y * 5, x * 4, 200 - y * 3 - x]).astype(np.uint8)


def test_jpeg_and_cmyk_jpeg():
    rgb = smooth_rgb()
    check(encoded(Image.fromarray(rgb), "JPEG", quality=98), rgb, atol=6)
    cmyk = Image.fromarray(rgb).convert("CMYK")
    check(encoded(cmyk, "JPEG", quality=98), rgb, atol=8)
    check(encoded(cmyk, "TIFF"), rgb, atol=2)


def test_ycck_jpeg():
    """A CMYK JPEG whose Adobe marker says that three planes are YCbCr."""
    rgb = smooth_rgb()
    # What is stored is YCbCr of the inverted colours; the writer inverts each plane
    # once more, so inverted planes are handed to it.
    planes = [
        Image.fromarray(255 - np.asarray(plane))
        for plane in Image.fromarray(255 - rgb).convert("YCbCr").split()
    ]
    planes.append(Image.new("L", planes[0].size, 0))
    data = encoded(Image.merge("CMYK", planes), "JPEG", quality=98, subsampling=0)
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data = data[:transform] + b"\x02" + data[transform + 1 :]
    check(data, rgb, atol=8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation):
    """The stored picture is written turned, so that upright gives the original."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 250, 10, 10
    upright[:8, 16:] = 10, 250, 10
    upright[8:, :16] = 10, 10, 250
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = image.getexif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    data = encoded(image, kind, exif=exif, **options.get(kind, {}))
    check(data, upright, atol=12)


def test_orientation_of_palette_with_transparency(palette):
    image, indices, colours = palette
    exif = image.getexif()
    exif[0x0112] = 3
    expected = np.where((indices == 2)[..., None], 255, colours[indices])[::-1, ::-1]
    check(encoded(image, "PNG", transparency=2, exif=exif), expected)


def test_broken_exif_does_no_harm():
    data = encoded(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0II*\0garbage-garbage")
    check(data, RGB)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_first_frame_of_an_animation(kind):
    first = Image.new("RGB", (8, 6), (255, 0, 0))
    second = Image.new("RGB", (8, 6), (0, 0, 255))
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    data = encoded(first, kind, save_all=True, append_images=[second], **options)
    check(data, np.broadcast_to([255.0, 0, 0], (6, 8, 3)))


def test_path_text_bytes_and_pillow_agree(tmp_path):
    path = tmp_path / "photo of a dog.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    for source in (path, str(path), path.read_bytes(), Image.open(path)):
        check(source, RGB)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_arrays(dtype):
    check(GREY.astype(dtype), as_rgb(GREY))
    check(GREY.astype(dtype)[..., None], as_rgb(GREY))
    check(RGB.astype(dtype), RGB)
    rgba = np.dstack([RGB, ALPHA]).astype(dtype)
    check(rgba, over_white(RGB, ALPHA), atol=1e-4)


def test_an_array_is_copied():
    source = RGB.astype(np.float32)
    load_image(source)[:] = 0
    np.testing.assert_array_equal(source, RGB)


def test_black_is_a_picture_and_zero_to_one_is_not():
    check(np.zeros((3, 4)), np.zeros((3, 4, 3)))
    check(np.ones((3, 4), np.uint8), np.ones((3, 4, 3)))
    refused(np.full((3, 4), 0.5), "0..1", "multiply by 255")
    refused(np.ones((3, 4, 3), np.float32), "multiply by 255", "8 bits per channel")
    alpha_0_to_1 = np.dstack([RGB.astype(float), np.ones((5, 7))])
    refused(alpha_0_to_1, "multiply by 255")
    refused(Image.fromarray(np.full((3, 4), 0.5, np.float32)), "multiply by 255")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((3, 4), np.nan), ["12 NaN"]),
        (np.full((3, 4), np.inf), ["inf", "0..255"]),
        (np.array([[-3.0, 200.0]]), ["-3..200"]),
        (np.array([[0.0, 256.0]]), ["0..256"]),
        (np.zeros((3, 4), np.uint16), ["uint16", "divide", "257"]),
        (np.zeros((3, 4), np.int64), ["int64", "astype(np.uint8)"]),
        (np.zeros((3, 4), bool), ["bool"]),
        (np.zeros((3, 4), complex), ["complex128"]),
        (np.array([["a"]]), ["expected uint8 or float"]),
        (np.zeros((3, 40, 50)), ["[3, 40, 50]", "channels come last"]),
        (np.zeros((2, 4, 5, 3)), ["one by one"]),
        (np.zeros(5), ["[5]"]),
        (np.zeros((4, 5, 2)), ["[4, 5, 2]"]),
        (np.zeros((0, 5, 3)), ["empty"]),
        (np.zeros((5, 0)), ["empty"]),
    ],
)
def test_arrays_that_are_refused(array, words):
    refused(array, "array", *words)


def test_other_types_are_refused():
    refused(None, "NoneType")
    refused(3.5, "float")
    refused([[1, 2]], "list")


def test_files_that_are_no_pictures(tmp_path):
    def named(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    refused(tmp_path / "missing.jpg", "missing.jpg", "no such file")
    refused(tmp_path, str(tmp_path), "is a folder")
    refused(named("empty.png", b""), "empty.png", "0 bytes")
    refused(named("notes.jpg", b"buy milk\n" * 20), "notes.jpg", "not a picture")
    refused(named("page.png", b"<!DOCTYPE html><html></html>"), "page.png")
    refused(named("plot.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"))
    refused(named("iphone.heic", b"\0\0\0\x18ftypheic" + bytes(20)), "HEIC", "JPEG")
    refused("a\0b.png", "cannot be opened")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_cut_off_files(tmp_path, kind, part):
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    path = tmp_path / "half.img"
    path.write_bytes(data[: int(part * len(data))])
    refused(path, "half.img")


def test_every_damaged_byte_gives_a_picture_or_one_line():
    data = bytearray(encoded(Image.fromarray(RGB)))
    for position in range(len(data)):
        damaged = bytes(
            data[:position] + bytes([data[position] ^ 255]) + data[position:]
        )
        try:
            assert load_image(damaged).ndim == 3
        except InputError as error:
            assert "\n" not in str(error)


def test_size_limit_is_checked_before_decoding():
    data = encoded(Image.fromarray(RGB))
    assert load_image(data, max_pixels=35).shape == (5, 7, 3)
    refused(data, "7x5", "max_pixels", max_pixels=34)
    # The pixels of this picture are missing: only its header can have been read.
    header_only = png(12_000, 13_000, 8, 2, [])
    refused(header_only, "12000x13000", "156 megapixels", "150")


def test_decompression_bomb():
    message = refused(png(60_000, 60_000, 8, 2, []), "larger than Pillow decodes")
    assert "3600000000" in message


def test_large_pictures_below_the_limit_do_not_warn():
    """Pillow warns above 89 megapixels; pytest would turn that into an error."""
    refused(png(10_000, 10_000, 8, 2, []), "cut off or damaged")


def test_lab_is_refused():
    refused(Image.new("LAB", (3, 3)), "LAB")


def test_hash_is_sha256_of_size_and_rounded_pixels():
    image = RGB.astype(np.float32)
    expected = hashlib.sha256(b"RGB 5 7\n" + RGB.tobytes()).hexdigest()
    assert rgb_sha256(image) == rgb_sha256(image.astype(np.float64)) == expected
    assert rgb_sha256(RGB) == expected
    assert rgb_sha256(np.clip(image + 0.3, 0, 255)) == expected
    assert rgb_sha256(image.transpose(1, 0, 2)) != expected
    assert rgb_sha256(image.reshape(7, 5, 3)) != expected
    assert rgb_sha256(image[..., ::-1]) != expected


@pytest.mark.parametrize(
    "image", [GREY, np.full((2, 2, 3), -1.0), np.full((2, 2, 3), np.nan)]
)
def test_hash_refuses_what_is_not_rgb(image):
    with pytest.raises(InputError, match=r"RGB"):
        rgb_sha256(image)
