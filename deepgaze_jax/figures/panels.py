"""Panels of pictures: a photograph, fixations on it, a density, what it gains where."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from deepgaze_jax.ops import resize_image
from deepgaze_jax.plotting import mass_levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "draw_density",
    "draw_gain",
    "draw_photograph",
    "draw_points",
    "gain_scale",
]

#: Longest side of what is drawn, in pixels: 300 to the inch in a panel of 1.6 inches.
_MAX_SIDE = 480

_PALE = 0.42  # What is left of a photograph's contrast below other things.
_SMOOTHING = 0.006  # Of densities, share of the longest side: contours without steps.
_FILL = "#1b3a5c"
_OPACITIES = (0.16, 0.34, 0.58)  # Inside the outer, the middle and the inner line.
_GAIN, _LOSS = "#1b3a5c", "#b5532a"
_GAIN_LEVELS = (0.06, 0.18, 0.42)  # Of the largest value in the row.


def draw_photograph(axes: "Axes", image: np.ndarray, pale: bool = False) -> None:
    """Draws a photograph; pale and grey below other things.

    Args:
        axes: empty.
        image: RGB 0..255, [height, width, 3].
        pale: whether to take its colour and contrast.
    """
    height, width = image.shape[:2]
    shrunk = resize_image(image, *_shrunk_size(height, width)) / 255
    if pale:
        grey = shrunk @ np.array([0.299, 0.587, 0.114])
        shrunk = np.repeat((1 - _PALE + _PALE * grey)[..., None], 3, axis=-1)
    axes.imshow(np.clip(shrunk, 0, 1), extent=(0, width, height, 0), aspect="equal")
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.4, color="0.4")


def draw_points(axes: "Axes", x: Any, y: Any) -> None:
    """Draws fixations as rings with a light edge, on dark and on bright ground alike.

    Args:
        axes: with a photograph.
        x: [n], pixels from the left.
        y: [n], pixels from the top.
    """
    for size, colour, width in ((5, "white", 1.4), (5, "black", 0.55)):
        axes.scatter(
            x, y, s=size, facecolors="none", edgecolors=colour, linewidths=width
        )


def draw_density(axes: "Axes", density: np.ndarray) -> None:
    """Draws the lines that split a density into four parts of equal mass, filled.

    Args:
        axes: with a pale photograph.
        density: [height, width].
    """
    shrunk, x, y = _smooth(density)
    with np.errstate(divide="ignore"):
        levels = np.unique(np.exp(mass_levels(np.log(shrunk))))
    levels = levels[(levels > shrunk.min()) & (levels < shrunk.max())]
    if not len(levels):
        return
    for level, opacity in zip(levels, _OPACITIES, strict=False):
        axes.contourf(
            x,
            y,
            shrunk,
            [level, np.inf],
            colors=[_FILL],
            alpha=opacity,
            antialiased=True,
        )
    widths = np.linspace(0.4, 0.9, len(levels))
    axes.contour(x, y, shrunk, levels, colors="black", linewidths=widths)


def draw_gain(axes: "Axes", gain: np.ndarray, scale: float) -> None:
    """Draws where information is gained (solid lines) and lost (dashed lines).

    Args:
        axes: with a pale photograph.
        gain: [height, width], p_gold * (log2 p_model - log2 p_baseline).
        scale: of the levels, the same for all panels to be compared; see `gain_scale`.
    """
    shrunk, x, y = _smooth(gain)
    for sign, colour, lines in ((1, _GAIN, "solid"), (-1, _LOSS, (0, (3, 1.5)))):
        levels = [level * scale for level in _GAIN_LEVELS]
        levels = [level for level in levels if level < (sign * shrunk).max()]
        for level in levels:
            axes.contourf(
                x, y, sign * shrunk, [level, np.inf], colors=[colour], alpha=0.2
            )
        if levels:
            drawn = axes.contour(
                x, y, sign * shrunk, levels, colors=colour, linewidths=0.7
            )
            drawn.set_linestyle(lines)


def gain_scale(gains: Any) -> float:
    """Returns the largest gain or loss in several maps, as they are drawn."""
    return max(float(np.abs(_smooth(gain)[0]).max()) for gain in gains)


def _shrunk_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, _MAX_SIDE / max(height, width))
    return max(2, round(height * scale)), max(2, round(width * scale))


def _smooth(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns values on a coarser grid without steps, and where its cells are."""
    height, width = values.shape
    rows, columns = _shrunk_size(height, width)
    highest = np.abs(values).max() or 1.0
    shrunk = resize_image((values / highest)[..., None], rows, columns)[..., 0]
    shrunk = gaussian_filter(
        shrunk.astype(np.float64), _SMOOTHING * max(rows, columns), mode="nearest"
    )
    x = (np.arange(columns) + 0.5) * width / columns
    y = (np.arange(rows) + 0.5) * height / rows
    return shrunk * highest, x, y
