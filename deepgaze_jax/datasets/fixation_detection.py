"""Fixations out of raw gaze, the way the authors of MIT1003 find them.

A saccade begins where the speed of the eye rises quickly, and ends with the next fall
of it; what lies between saccades is a fixation, at the median of its samples.
"""

from dataclasses import dataclass

import numpy as np

from deepgaze_jax.errors import InputError

__all__ = ["DetectionConfig", "detect_fixations"]


@dataclass(frozen=True)
class DetectionConfig:
    """How fixations are found. The defaults are those of MIT1003's authors.

    Attributes:
        sampling_rate_hz: samples per second.
        pixels_per_dva: of the screen that gaze was recorded on.
        threshold_dva_per_s: a saccade's speed rises by more than this from one window
            to the next, which begins one sample later.
        window_samples: length of the windows that speed is averaged over.
        min_rise_samples: shorter rises are noise.
        max_fall_samples: how far behind a rise its fall may be.
        max_gap_samples: saccades that leave no more than this between them are one, as
            are the last one and the end of the trial.
    """

    sampling_rate_hz: float = 240.0
    pixels_per_dva: float = 34.0
    threshold_dva_per_s: float = 6.0
    window_samples: int = 4
    min_rise_samples: int = 3
    max_fall_samples: int = 25
    max_gap_samples: int = 12


def detect_fixations(
    x: np.ndarray, y: np.ndarray, config: DetectionConfig | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns x, y, first sample and number of samples of each fixation, float64 [k].

    Blinks are not looked for: where gaze jumps to the value that marks them, that is a
    fixation there, which leaves the image and is dropped later.

    Args:
        x: [n], gaze in pixels; NaN where unknown.
        y: [n], the same.
        config: thresholds; those of MIT1003 if left out.

    Raises:
        InputError: x and y are not vectors of one length.

    Reference:
        Judd, Ehinger, Durand & Torralba (2009), ICCV, and the code published with it.

    Example:
        >>> x = np.r_[np.full(60, 100.0), np.linspace(120, 280, 9), np.full(60, 300.0)]
        >>> found = detect_fixations(x, np.zeros(len(x)))
        >>> [values.round().tolist() for values in found]
        [[100.0, 300.0], [0.0, 0.0], [0.0, 73.0], [55.0, 56.0]]
    """
    config = config or DetectionConfig()
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"gaze has the shapes {list(x.shape)} and {list(y.shape)}; expected two "
            "vectors of one length"
        )
    if len(x) == 0:
        return (np.zeros(0),) * 4
    firsts, lasts = _between(_saccades(_rise(x, y, config), len(x), config), len(x))
    pieces = [slice(a, b + 1) for a, b in zip(firsts, lasts, strict=True)]
    return (
        np.array([_median(x[piece]) for piece in pieces]),
        np.array([_median(y[piece]) for piece in pieces]),
        np.asarray(firsts, np.float64),
        np.asarray(lasts, np.float64) - firsts + 1,
    )


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan


def _rise(x: np.ndarray, y: np.ndarray, config: DetectionConfig) -> np.ndarray:
    """Returns [n], by how much speed rises from the window at a sample to the next one.

    In thresholds: above 1 the speed rises, below -1 it falls.
    """
    n, width = len(x), config.window_samples
    step = np.zeros(n)
    step[1:] = np.hypot(np.diff(x), np.diff(y))
    # The mean over the last samples; what lies before the first counts as rest.
    padded = np.concatenate([np.zeros(width - 1), step])
    smooth = np.lib.stride_tricks.sliding_window_view(padded, width).mean(axis=1)
    rise = np.zeros(n)
    # Sums over two windows of width + 1 that differ by one sample differ in their ends.
    # PARITY: the first sample and the last width + 1 are not looked at.
    stop = n - width - 1
    if stop > 1:
        change = smooth[2 + width : stop + width + 1] - smooth[1:stop]
        rise[1:stop] = change * config.sampling_rate_hz / width
    return rise / (config.pixels_per_dva * config.threshold_dva_per_s)


def _saccades(
    rise: np.ndarray, n: int, config: DetectionConfig
) -> list[tuple[int, int]]:
    """Returns first and last sample of each saccade."""
    rises = [
        (first, last)
        for first, last in _runs(rise > 1)
        if last - first + 1 >= config.min_rise_samples
    ]
    falling = rise < -1
    found = []
    for first, last in rises:
        end = _end_of_fall(falling, last, n, config.max_fall_samples)
        if end is None and len(rises) == 1 and last == np.flatnonzero(rise)[-1]:
            end = n - 1  # The trial ends within its only saccade.
        if end is not None:
            found.append((first, end))
    merged: list[tuple[int, int]] = []
    for k, (first, end) in enumerate(found):
        # The gap is to the saccade before, not to what that was merged into.
        if k and first - found[k - 1][1] <= config.max_gap_samples:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((first, end))
    if merged and n - 1 - merged[-1][1] <= config.max_gap_samples:
        merged[-1] = (merged[-1][0], n - 1)
    return merged


def _end_of_fall(falling: np.ndarray, last: int, n: int, reach: int) -> int | None:
    """Returns the last sample of the first fall behind a rise, or None."""
    for offset in range(reach):
        at = last + 1 + offset
        if at + 1 >= n - (offset > 0):
            return None
        if falling[at] and not falling[at + 1]:
            return at
    return None


def _between(saccades: list[tuple[int, int]], n: int) -> tuple[list[int], list[int]]:
    """Returns first and last samples of what lies between saccades."""
    firsts = [0, *(end + 1 for _, end in saccades)]
    lasts = [*(first - 1 for first, _ in saccades), n - 1]
    kept = [(a, b) for a, b in zip(firsts, lasts, strict=True) if a <= b]
    return [a for a, _ in kept], [b for _, b in kept]


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Returns first and last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
