"""At which size a model sees a picture."""

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.images import MAX_PIXELS
from deepgaze_jax.ops import scaled_size

__all__ = ["image_scale", "model_size"]

_FEWEST = 8  # pixels of a side; a larger picture that shrinks below is a mistake


def image_scale(
    name: str, card: Mapping[str, Any], pixels_per_dva: float | None = None
) -> float:
    """Return the factor from a picture's size to that of the model's image.

    Args:
        name: of the model.
        card: of the model.
        pixels_per_dva: of the picture; by default that of the card.

    Raises:
        ConfigError: not a positive number, or the card does not say which value the
            model was trained at.

    Example:
        >>> image_scale("it", {"input_scale": 1.5, "pixels_per_dva": 24.0}, 36.0)
        1.0
    """
    scale = float(card["input_scale"])
    if pixels_per_dva is None:
        return scale
    known = card.get("pixels_per_dva")
    if known is None:
        raise ConfigError(
            f"the card of {name} does not say how many pixels per degree of visual "
            "angle it was trained at, so pixels_per_dva cannot be used; leave it out"
        )
    number = isinstance(pixels_per_dva, numbers.Real)
    if not (number and np.isfinite(pixels_per_dva) and pixels_per_dva > 0):
        raise ConfigError(
            f"pixels_per_dva is {pixels_per_dva!r}; expected a positive number "
            f"({known:g} is what {name} was trained at)"
        )
    return scale * float(known) / float(pixels_per_dva)


def model_size(
    image_size: tuple[int, int], scale: float, pixels_per_dva: float | None = None
) -> tuple[int, int]:
    """Return height and width of the image that a model sees.

    Args:
        image_size: height and width of the picture.
        scale: from `image_scale`.
        pixels_per_dva: as it was asked for; with a value of one's own, a picture that
            shrinks to nothing is a mistake.

    Raises:
        InputError: an image too large to be computed, or too small to show much.

    Example:
        >>> model_size((600, 800), 35 / 24)
        (875, 1167)
    """
    seen = [float(size) * scale for size in image_size]
    # Of the product, which may be infinite, before anything is rounded to it.
    large = seen[0] * seen[1] > MAX_PIXELS
    if large or (pixels_per_dva and min(seen) < _FEWEST <= min(image_size)):
        raise InputError(
            f"a picture of {image_size[0]}x{image_size[1]} pixels would be seen at "
            f"{seen[0]:.7g}x{seen[1]:.7g} (scale {scale:g}); "
            f"{'shrink it, or ' * large}check pixels_per_dva"
        )
    return scaled_size(*image_size, scale)
