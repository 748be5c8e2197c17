"""Intensity contrast features: what a picture shows without any trained network.

Local mean and local contrast of three colour components at five scales. Nothing here
is learned, so ICF needs no weights.

Reference: Kümmerer, Wallis, Gatys & Bethge 2017, "Understanding low- and high-level
contributions to fixation prediction", ICCV; constants of the authors' release.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepgaze_jax.errors import InputError
from deepgaze_jax.ops import blur_matrix, pool_max

__all__ = [
    "RADIUS_PX",
    "SCALES_PX",
    "TAPS",
    "colour_components",
    "constants_sha256",
    "icf_features",
    "tap_channels",
    "tap_grid",
    "tap_stride",
]

#: Standard deviation of each Gaussian, in pixels of the network's input.
SCALES_PX = (5, 10, 20, 40, 80)

#: Taps of every Gaussian on each side; the two widest are truncated windows.
RADIUS_PX = 85

#: Principal components of the colours of photographs, one a column.
_COLOUR_COMPONENTS = (
    (0.40052664, -0.81574154, 0.41730589),
    (-0.72759449, -0.00632331, 0.68597835),
    (-0.55694222, -0.57838207, -0.59606171),
)

#: Cells of one maximum, each way.
_POOL = 4

#: Longest piece of an axis that is blurred by one matrix; longer ones are cut.
_PIECE = 512

#: The one feature map, behind the maximum over 4x4 cells.
TAPS = ("icf",)

_EXACT = lax.Precision.HIGHEST


def tap_channels(tap: str) -> int:
    """Return the number of channels of a tap.

    Example:
        >>> tap_channels("icf")
        30
    """
    _check_taps((tap,))
    return 2 * len(SCALES_PX) * len(_COLOUR_COMPONENTS)


def tap_grid(tap: str, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of a tap for an input of height x width.

    Example:
        >>> tap_grid("icf", 49, 66)
        (13, 17)
    """
    _check_taps((tap,))
    return -(-height // _POOL), -(-width // _POOL)


def tap_stride(tap: str) -> int:
    """Return how many pixels of the network's input one cell of a tap spans."""
    _check_taps((tap,))
    return _POOL


def constants_sha256() -> str:
    """Return the hash of all constants: features of equal hashes are the same."""
    constants = (SCALES_PX, RADIUS_PX, _COLOUR_COMPONENTS, _POOL)
    return hashlib.sha256(repr(constants).encode()).hexdigest()


def _check_taps(taps: Sequence[str]) -> None:
    if tuple(taps) != TAPS:
        raise InputError(f"unknown taps {list(taps)} of ICF; it has one: {TAPS[0]}")


def colour_components(image: jax.Array) -> jax.Array:
    """Return the three colour components of images RGB 0..255, in the same shape."""
    components = np.float32(_COLOUR_COMPONENTS)
    return jnp.matmul(image / 256 - 0.5, components, precision=_EXACT)


def icf_features(
    params: Mapping[str, Any], image: jax.Array, taps: Sequence[str] = TAPS
) -> dict[str, jax.Array]:
    """Return the intensity contrast features of images.

    Channels: for each colour component the five local means, then the five local
    contrasts, from the smallest scale to the largest.

    Args:
        params: not used; every network is called alike.
        image: RGB 0..255, `*batch height width 3`; the model halves pictures first.
        taps: `("icf",)`.

    Returns:
        `{"icf": [*batch, ceil(height/4), ceil(width/4), 30]}`.

    Raises:
        InputError: another tap, or the image has another shape.

    Example:
        >>> icf_features({}, np.zeros((49, 66, 3), np.float32))["icf"].shape
        (13, 17, 30)
    """
    del params
    _check_taps(taps)
    image = jnp.asarray(image, jnp.float32)
    if image.ndim < 3 or image.shape[-1] != 3 or 0 in image.shape[-3:]:
        raise InputError(
            f"an image of shape {image.shape} was given; ICF takes RGB 0..255 of shape "
            "[*batch, height, width, 3]"
        )
    batch = image.shape[:-3]
    components = colour_components(image)
    planes = jnp.moveaxis(components, -1, -3).reshape(-1, *image.shape[-3:-1])
    # Plane by plane: thirty maps of a photograph's size would take gigabytes.
    maps = lax.map(_maps, planes)
    # Image, component, map -> channels in that order.
    x = maps.reshape(*batch, -1, *maps.shape[-2:])
    return {TAPS[0]: jnp.moveaxis(x, -3, -1)}


def _maps(plane: jax.Array) -> jax.Array:
    """Return the maps of one component: all means, then all contrasts."""
    means, contrasts = [], []
    for sigma in SCALES_PX:
        mean = _blur(plane, sigma)
        # The variance around the local mean; its root is not taken.
        contrast = _blur(jnp.square(plane - mean), sigma)
        means.append(pool_max(mean[..., None], _POOL)[..., 0])
        contrasts.append(pool_max(contrast[..., None], _POOL)[..., 0])
    return jnp.stack(means + contrasts)


def _blur(plane: jax.Array, sigma: float) -> jax.Array:
    """Return a plane [height, width] blurred along both axes, edges repeated."""
    if not all(isinstance(size, int) for size in plane.shape):
        # Of `any_size`: no pieces can be cut from an axis of unknown length.
        rows, columns = (
            blur_matrix(size, np.float32(sigma), RADIUS_PX) for size in plane.shape
        )
        half = jnp.matmul(rows, plane, precision=_EXACT)
        return jnp.matmul(half, columns.T, precision=_EXACT)
    rows = [
        jnp.matmul(weights, plane[seen], precision=_EXACT)
        for seen, weights in _pieces(plane.shape[0], sigma)
    ]
    plane = jnp.concatenate(rows, axis=0)
    columns = [
        jnp.matmul(plane[:, seen], weights.T, precision=_EXACT)
        for seen, weights in _pieces(plane.shape[1], sigma)
    ]
    return jnp.concatenate(columns, axis=1)


def _pieces(size: int, sigma: float) -> tuple[tuple[slice, np.ndarray], ...]:
    """Return how an axis is blurred, piece by piece.

    A product with a band matrix is the fastest form of a wide Gaussian on a processor
    that multiplies matrices well; cutting a long axis keeps the band from being lost
    in zeros.

    Args:
        size: length of the axis.
        sigma: standard deviation in cells.

    Returns:
        For each piece the cells it sees, and weights [cells of the piece, cells seen].
    """
    offsets = np.arange(-RADIUS_PX, RADIUS_PX + 1)
    taps = np.exp(-0.5 * np.square(offsets / sigma))
    taps /= taps.sum()
    found = []
    n_pieces = -(-size // _PIECE)
    for cells in np.array_split(np.arange(size), n_pieces):
        # A tap beyond the edge reads the edge.
        source = np.clip(cells[:, None] + offsets, 0, size - 1)
        first, last = int(source.min()), int(source.max()) + 1
        weights = np.zeros((len(cells), last - first))
        row = np.arange(len(cells))[:, None]
        np.add.at(weights, (row, source - first), taps)
        found.append((slice(first, last), weights.astype(np.float32)))
    return tuple(found)
