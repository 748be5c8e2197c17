"""Pictures of densities: a photograph with the density over it."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.files import replacing
from deepgaze_jax.images import load_image
from deepgaze_jax.ops import resize_image, resize_weights

__all__ = ["mass_levels", "overlay", "write_png"]

#: Longest side of an overlay in pixels.
MAX_SIDE = 1600

#: Of the heat where the density is highest.
OPACITY = 0.62

# Rows that are blended together.
_ROWS = 128

# How the picture is drawn; lengths are shares of the longest side.
_SMOOTHING = 0.004
_LINE_WIDTH = 0.0022
_COLOUR = 0.45  # What is left of the photograph's colour.
_STEPS = 2**20  # Densities closer than the highest over this count as equal.
_COLOUR_MAP = "inferno"
_COLOUR_RANGE = (0.3, 0.97)  # Its darkest end cannot be seen on dark photographs.


def mass_levels(log_density: Any, n_parts: int = 4) -> np.ndarray:
    """Return the values whose contour lines split a density into parts of equal mass.

    The pixels above level k hold (k + 1) / n_parts of the mass, with the fewest pixels
    that can hold it.

    Args:
        log_density: [height, width], natural logarithm.
        n_parts: number of parts.

    Returns:
        float64 [n_parts - 1], natural logarithms, highest first.

    Raises:
        InputError: not a map of numbers, or all of it is minus infinity.

    Example:
        >>> np.exp(mass_levels(np.log([[0.5, 0.25, 0.15, 0.1]]))).round(2)
        array([0.5 , 0.5 , 0.25])
    """
    ordered = np.sort(_checked(log_density).astype(np.float64), axis=None)[::-1]
    mass = np.cumsum(np.exp(ordered - ordered[0]))
    wanted = np.arange(1, n_parts) / n_parts * mass[-1]
    return ordered[np.searchsorted(mass, wanted)]


def overlay(
    image: Any,
    log_density: Any,
    max_side: int = MAX_SIDE,
    *,
    opacity: float = OPACITY,
    contours: bool = True,
) -> np.ndarray:
    """Return a photograph under the density of fixations, with contour lines.

    The three lines split the density into four parts of equal mass: a quarter of all
    fixations is expected inside the innermost, half inside the middle one, three
    quarters inside the outer. Colour and opacity follow the same scale, so pictures of
    narrow and of broad densities can be compared. Outside the outer line the
    photograph stays as it is, only paler.

    Args:
        image: what `load_image` takes; [height, width, 3].
        log_density: [height, width], natural logarithm.
        max_side: longest side of the result; larger photographs are shrunk.
        opacity: of the heat where the density is highest, 0 to 1.
        contours: draw the lines.

    Returns:
        uint8 [h, w, 3], RGB.

    Raises:
        ConfigError: an opacity that is not 0 to 1.
        InputError: image and density have different sizes, or are none.

    Example:
        >>> photograph = np.full((60, 80, 3), 128, np.uint8)
        >>> overlay(photograph, np.zeros((60, 80))).shape
        (60, 80, 3)
    """
    if not 0 <= opacity <= 1:
        raise ConfigError(f"opacity is {opacity!r}; expected a number from 0 to 1")
    # Bytes are 0..255 as they are.
    is_bytes = isinstance(image, np.ndarray) and image.dtype == np.uint8
    if not (is_bytes and image.ndim == 3 and image.shape[-1] == 3):
        image = load_image(image)
    values = _checked(log_density)
    if values.shape != image.shape[:2]:
        raise InputError(
            f"the density has {values.shape[0]}x{values.shape[1]} pixels, the image "
            f"{image.shape[0]}x{image.shape[1]}; give those that belong together"
        )
    scale = min(1.0, max_side / max(values.shape))
    size = [max(1, round(side * scale)) for side in values.shape]
    density = _resized_density(values, *size)
    photograph = resize_image(image, *size)
    # Densities come in steps of a few pixels; a narrow blur hides the steps.
    density = gaussian_filter(density, _SMOOTHING * max(size), mode="nearest")
    picture = np.empty(photograph.shape, np.uint8)
    heat = _below(density)
    # A few rows after another, so that memory is that of the result.
    for first in range(0, len(picture), _ROWS):
        rows = slice(first, first + _ROWS)
        blended = _blend(photograph[rows], heat[rows], opacity)
        picture[rows] = np.clip(np.rint(blended), 0, 255)
    if not contours:
        return picture
    with np.errstate(divide="ignore"):
        levels = np.exp(mass_levels(np.log(density)))
    return _with_contours(picture, density, levels)


def _resized_density(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the density at another size, 1 where it is highest before.

    A shrunk density stays one per pixel of the photograph: its mean over an area.
    """
    top = np.float64(values.max())
    rows = resize_weights(values.shape[0], height)
    columns = resize_weights(values.shape[1], width)
    density = np.empty((height, width), np.float32)
    # A few rows at a time: the picture may be many times as large as the result.
    for start in range(0, height, _ROWS):
        stop = min(start + _ROWS, height)
        old, weights = rows.part(start, stop)
        part = np.exp(values[old] - top).astype(np.float32)
        density[start:stop] = columns.apply(weights.apply(part, 0), 1)
    return density


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture as PNG, in one step; returns nothing.

    Args:
        path: the file; it appears complete or not at all.
        picture: uint8 [height, width, 3].
    """
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", compress_level=2)


def _checked(log_density: Any) -> np.ndarray:
    values = np.asarray(log_density)
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "fiu":
        raise InputError(
            f"the density has the shape {list(values.shape)} and type {values.dtype}; "
            "expected numbers [height, width]"
        )
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    # The largest of values that have NaN among them is NaN.
    if not np.isfinite(values.max()):
        raise InputError("the density has NaN or no finite value; expected logarithms")
    return values


def _below(density: np.ndarray) -> np.ndarray:
    """Return for each pixel the share of the mass in pixels of lower density.

    Pixels of equal density share their place, so a flat density is flat here, too.
    """
    steps = np.rint(density * (_STEPS / density.max())).astype(np.int64)
    mass = np.bincount(steps.ravel(), weights=density.ravel())
    below = np.cumsum(mass) - mass / 2
    return (below / mass.sum()).astype(np.float32)[steps]


def _blend(photograph: np.ndarray, heat: np.ndarray, most: float) -> np.ndarray:
    """Return the photograph, paler, with the heat over it; RGB 0..255."""
    import matplotlib

    grey = photograph @ np.array([0.299, 0.587, 0.114], np.float32)
    pale = np.float32(_COLOUR) * photograph
    pale += np.float32(1 - _COLOUR) * grey[..., None]
    colour_map = matplotlib.colormaps[_COLOUR_MAP]
    table = 255 * colour_map(np.arange(colour_map.N))[:, :3].astype(np.float32)
    low, high = _COLOUR_RANGE
    step = ((low + (high - low) * heat) * colour_map.N).astype(np.intp)
    # Smooth at both ends: nothing begins with an edge.
    opacity = np.float32(most) * (heat * heat * (3 - 2 * heat))[..., None]
    return pale + opacity * (table[step] - pale)


def _with_contours(
    picture: np.ndarray, density: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """Return a uint8 picture with one line for each level of the density."""
    from matplotlib import patheffects
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = density.shape
    # Flat densities have no lines, and equal levels only one.
    levels = np.unique(levels)
    levels = levels[(levels > density.min()) & (levels < density.max())]
    if min(height, width) < 2 or len(levels) == 0:
        return picture
    # One figure pixel is one pixel: 72 per inch make a point one, too.
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set_axis_off()
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    line = max(1.0, _LINE_WIDTH * max(height, width))
    lines = axes.contour(x, y, density, levels, colors="white", linewidths=line)
    halo = patheffects.Stroke(linewidth=2.6 * line, foreground="black", alpha=0.55)
    lines.set_path_effects([halo, patheffects.Normal()])
    axes.set(xlim=(0, width), ylim=(height, 0))
    canvas.draw()
    return _over(np.asarray(canvas.buffer_rgba()), picture)


def _over(lines: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Return a picture with lines over it, which are drawn on nothing.

    Args:
        lines: uint8 [height, width, 4], RGB and opacity.
        picture: uint8 [height, width, 3], which is changed.
    """
    # Most pixels have no line, and drawing the picture below them takes far longer.
    where = np.nonzero(lines[..., 3])
    drawn = lines[where].astype(np.float32)
    below = picture[where].astype(np.float32)
    opacity = drawn[:, 3:] / 255
    picture[where] = np.rint(below + opacity * (drawn[:, :3] - below)).astype(np.uint8)
    return picture
