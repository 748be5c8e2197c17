"""Any picture file or array in, RGB float32 0..255 out."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from deepgaze_jax.decoding_costs import check_decoding_costs
from deepgaze_jax.errors import InputError, NotAPictureError, TooLargeError
from deepgaze_jax.pillow_warnings import no_pillow_warnings

__all__ = ["MAX_PIXELS", "as_bytes", "load_image", "rgb_sha256"]

# Rows of a picture that are converted together.
_ROWS = 256

#: Pictures with more pixels are refused before they are decoded (1.8 GB as float32).
MAX_PIXELS = 150_000_000

# Only formats of pictures that people look at. Pillow knows more, and some of those
# start other programs (EPS runs Ghostscript) or take plain text for a picture.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

# EXIF orientation -> what turns the stored picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112

_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def load_image(
    source: str | Path | bytes | np.ndarray | Image.Image,
    *,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> np.ndarray:
    """Return a picture as RGB values 0..255, upright, float32 [height, width, 3].

    Grey becomes three equal channels. Transparent pixels are laid over **white**.
    16-bit grey (0..65535; also 32-bit integer grey, which is read as 16 bit) is
    divided by 257 and keeps its fractions; Pillow reduces 16-bit colour to 8 bits
    when it decodes. CMYK is converted without its colour profile. The EXIF
    orientation is applied. Of an animation the first frame is taken.

    Args:
        source: a file name, the bytes of a picture file, a Pillow image, or an array
            [height, width], [height, width, 1], [height, width, 3] or
            [height, width, 4] (RGB and alpha), uint8 or float with values 0..255.
        max_pixels: files with more pixels are refused before they are decoded.
            Pillow's own limit (twice `PIL.Image.MAX_IMAGE_PIXELS`) holds as well.
        name: how errors call the bytes of a picture file.

    Returns:
        A new array; whoever receives it may write into it.

    Raises:
        InputError: missing, no picture (`NotAPictureError`), cut off, too large
            (`TooLargeError`), or an array of another shape, type or range. A float
            array with no value above 1 is refused: it is most likely scaled to 0..1
            and would be seen as black.

    Example:
        >>> load_image(np.full((2, 3), 255, np.uint8)).shape
        (2, 3, 3)
        >>> load_image(np.full((2, 3, 3), 0.5))
        Traceback (most recent call last):
        deepgaze_jax.errors.InputError: array: no value is above 1, so this looks like \
an image scaled to 0..1; the model takes 0..255: multiply by 255 (save a picture file \
with 8 bits per channel)
    """
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "Pillow image")
        return _from_pillow(source, name, max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(bytes(source), max_pixels, name)
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), max_pixels)
    if hasattr(source, "__array__"):
        return _from_array(np.asarray(source), "array")
    raise InputError(
        f"{type(source).__name__} is not a picture; give a file name, bytes, a Pillow "
        "image or an array [height, width, 3] with values 0..255"
    )


def picture_formats() -> list[str]:
    """Return Pillow's names of the formats that are read, of those it knows here."""
    Image.init()
    return [kind for kind in _FORMATS if kind in Image.OPEN]


def rgb_sha256(image: np.ndarray) -> str:
    """Return the SHA-256 of a picture's pixels: the same for the same RGB and size.

    Values are rounded to uint8 (halves to even). The height and width go into the
    hash, so that pictures that differ only in shape differ.

    Args:
        image: RGB 0..255, [height, width, 3], as `load_image` returns it.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: another shape or range.

    Example:
        >>> rgb_sha256(np.zeros((2, 3, 3), np.float32))[:8]
        '9a9a6076'
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3:
        raise InputError(
            f"an array of shape {list(image.shape)} was given; the hash is taken of "
            "RGB [height, width, 3]"
        )
    # Written so that NaN fails too.
    if image.size and not (image.min() >= 0 and image.max() <= 255):
        raise InputError("the hash is taken of RGB 0..255; other values were given")
    height, width, _ = image.shape
    digest = hashlib.sha256(f"RGB {height} {width}\n".encode())
    digest.update(as_bytes(image))
    return digest.hexdigest()


def as_bytes(image: np.ndarray) -> np.ndarray:
    """Return a picture rounded to uint8 (halves to even).

    Args:
        image: RGB 0..255, [height, width, 3], as `load_image` returns it.

    Example:
        >>> as_bytes(np.full((1, 1, 3), 2.5, np.float32)).tolist()
        [[[2, 2, 2]]]
    """
    if image.dtype == np.uint8:
        return image
    rounded = np.empty(image.shape, np.uint8)
    # A few rows after another, so that memory is that of the result.
    for first in range(0, len(image), _ROWS):
        rows = slice(first, first + _ROWS)
        rounded[rows] = np.rint(image[rows])
    return rounded


def _from_path(path: Path, max_pixels: int) -> np.ndarray:
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a picture; name its files")
    try:
        with path.open("rb") as file:
            return _from_file(file, str(path), max_pixels)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check its name and folder") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read (no permission)") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be opened ({_line(error)})") from error


def _from_bytes(data: bytes, max_pixels: int, name: str | None) -> np.ndarray:
    name = name or f"picture of {len(data)} bytes"
    return _from_file(io.BytesIO(data), name, max_pixels)


def _from_file(file: io.BufferedIOBase, name: str, max_pixels: int) -> np.ndarray:
    head = file.read(16)
    file.seek(0)
    if not head:
        raise InputError(f"{name}: is empty (0 bytes)")
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        raise NotAPictureError(
            f"{name}: is a HEIC photograph; convert it to JPEG or PNG"
        )
    formats = picture_formats()
    # Pillow warns of odd metadata, which does no harm, and of large pictures, for which
    # the limit below speaks.
    with no_pillow_warnings():
        try:
            image = Image.open(file, formats=formats)
        except Image.DecompressionBombError as error:
            raise TooLargeError(
                f"{name}: is larger than Pillow decodes ({_line(error)}); shrink it "
                "(or in Python raise PIL.Image.MAX_IMAGE_PIXELS and max_pixels)"
            ) from None
        except UnidentifiedImageError:
            raise NotAPictureError(
                f"{name}: is not a picture, or its start is missing; expected one of "
                f"{', '.join(formats)}"
            ) from None
        except Exception as error:
            raise _damaged(name, error) from error
        with image:
            return _from_pillow(image, name, max_pixels)


def _from_pillow(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    width, height = image.size
    if width * height > max_pixels:
        raise TooLargeError(
            f"{name}: has {width}x{height} = {width * height / 1e6:.4g} megapixels; at "
            f"most {max_pixels / 1e6:.4g} are decoded: shrink it (or in Python raise "
            "max_pixels)"
        )
    if width * height == 0:
        raise InputError(f"{name}: is empty ({width}x{height} pixels)")
    if image.mode == "LAB":
        raise InputError(
            f"{name}: has the colour mode {image.mode}, which needs a colour profile; "
            "save it as RGB PNG or JPEG"
        )
    with no_pillow_warnings():
        # Every plugin of Pillow has its own exceptions for damaged files (OSError,
        # SyntaxError, struct.error, EOFError, ...): all of them mean the same here.
        try:
            check_decoding_costs(image, name)
            # TIFF turns itself upright here, so the orientation is asked for after it.
            image.load()
            values = _channels(_upright(image))
        except InputError:
            raise
        except MemoryError:
            raise TooLargeError(
                f"{name}: {width}x{height} pixels do not fit in memory; shrink it"
            ) from None
        except Exception as error:
            raise _damaged(name, error) from error
    # Only pictures of floats can be scaled to 0..1 by mistake.
    return _from_array(values, name) if image.mode == "F" else _on_white(values)


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # Broken EXIF says nothing about the pixels.
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info.update(image.info)
    return turned


def _channels(image: Image.Image) -> np.ndarray:
    """Return a decoded picture as an array [height, width] or [height, width, 3|4]."""
    mode = image.mode
    if mode == "F":
        return np.asarray(image)
    if mode == "I" or mode.startswith("I;16"):
        return _channels_16_bit(image)
    if mode == "La":
        image = image.convert("LA")
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _channels_16_bit(image: Image.Image) -> np.ndarray:
    """Return 16-bit grey as float32 [height, width, 1], or with alpha 4 channels."""
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 65535:
        raise ValueError(f"grey values {levels.min()}..{levels.max()} exceed 16 bit")
    grey = (levels / 257).astype(np.float32)
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey[..., None]
    alpha = np.where(levels == transparent, np.float32(0), np.float32(255))
    return np.stack([grey, grey, grey, alpha], axis=-1)


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "; channels come last: np.moveaxis(array, 0, -1)"
        elif array.ndim == 4:
            hint = "; give the images one by one"
        raise InputError(
            f"{name}: has shape {list(array.shape)}; expected [height, width], "
            f"[height, width, 1], [height, width, 3] or [height, width, 4]{hint}"
        )
    if array.size == 0:
        raise InputError(f"{name}: is empty (shape {list(array.shape)})")
    if array.dtype == np.uint8:
        return _on_white(array)
    if not np.issubdtype(array.dtype, np.floating):
        hint = (
            "divide 16-bit values by 257"
            if array.dtype == np.uint16
            else "convert it with astype(np.uint8)"
        )
        raise InputError(
            f"{name}: has type {array.dtype}; expected uint8 or float with values "
            f"0..255: {hint}"
        )
    _check_range(array, name)
    return _on_white(array)


def _check_range(array: np.ndarray, name: str) -> None:
    """Refuse float values that are not 0..255."""
    low, high = array.min(), array.max()
    if np.isnan(low):
        count = int(np.isnan(array).sum())
        raise InputError(f"{name}: has {count} NaN values; expected values 0..255")
    if low < 0 or high > 255:
        raise InputError(
            f"{name}: has values {low:g}..{high:g}; expected RGB 0..255 (without mean "
            "subtraction or standardisation)"
        )
    for plane in (array[..., :3], array[..., 3:]):
        if plane.size and 0 < plane.max() <= 1:
            raise InputError(
                f"{name}: no value is above 1, so this looks like an image scaled to "
                "0..1; the model takes 0..255: multiply by 255 (save a picture file "
                "with 8 bits per channel)"
            )


def _on_white(array: np.ndarray) -> np.ndarray:
    """Return [height, width, 1|3|4] as float32 RGB, transparent pixels over white."""
    height, width, channels = array.shape
    image = np.empty((height, width, 3), np.float32)
    image[...] = array[..., :3]
    if channels == 4:
        alpha = array[..., 3:].astype(np.float32) / 255
        # In this form an opaque pixel keeps its value exactly; a transparent one may
        # end one rounding step above white.
        image += (255 - image) * (1 - alpha)
        np.minimum(image, 255, out=image)
    return image


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name}: is cut off or damaged ({_line(error)}); fetch or save it again"
    )


def _line(error: Exception) -> str:
    """Return what an exception says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
