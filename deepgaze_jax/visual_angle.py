"""Pixels and degrees of visual angle."""

import math

from deepgaze_jax.errors import InputError

__all__ = ["pixels_per_dva"]


def pixels_per_dva(screen_px: float, screen_cm: float, distance_cm: float) -> float:
    """Returns how many pixels one degree of visual angle covers.

    This is the value at the middle of the screen, where a degree is smallest; the mean
    over a screen is a few per cent higher.

    Args:
        screen_px: width (or height) of the screen in pixels.
        screen_cm: the same side in centimetres.
        distance_cm: from the eyes to the screen, in centimetres.

    Raises:
        InputError: a value that is not a positive number.

    Example:
        >>> round(pixels_per_dva(1920, 53.0, 60), 1)
        37.9
    """
    values = {
        "screen_px": screen_px,
        "screen_cm": screen_cm,
        "distance_cm": distance_cm,
    }
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}; expected a positive number")
    return 2 * distance_cm * math.tan(math.radians(0.5)) * screen_px / screen_cm
