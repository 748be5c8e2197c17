"""Made-up pictures and fixations of a known density, for trying everything offline."""

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.special import logsumexp

from deepgaze_jax.datasets.recording import Meta, Recording, ScanpathTable
from deepgaze_jax.errors import InputError

__all__ = ["read", "toy_image", "toy_log_density"]

_SIZES = ((120, 160), (160, 120))
_PIXELS_PER_DVA = 8.0
_OBJECT_SHARE, _CENTER_SHARE = 0.65, 0.25
_RADIUS = 11.0


def read(
    source: str | Path | None = None,
    *,
    n_images: int = 24,
    n_subjects: int = 8,
    seed: int = 0,
) -> Recording:
    """Returns a synthetic data set: striped discs on a dim ground attract fixations.

    The density that the fixations were drawn from is `toy_log_density(index, seed)`: no
    model can be better than that, on average.

    Args:
        source: not used; there is nothing to be read.
        n_images: number of pictures, of 160 x 120 and 120 x 160 pixels in turn.
        n_subjects: number of subjects, each of whom looks at every picture.
        seed: other seeds give other data sets.

    Raises:
        InputError: a number below 1.

    Example:
        >>> recording = read(n_images=3, n_subjects=2)
        >>> recording.image_names
        ('toy000.png', 'toy001.png', 'toy002.png')
        >>> recording.fixations.validate(recording.image_sizes)
    """
    if n_images < 1 or n_subjects < 1:
        raise InputError("a data set needs at least one image and one subject")
    table = ScanpathTable()
    for index in range(n_images):
        rng = np.random.default_rng([seed, index, 1])
        density = np.exp(toy_log_density(index, seed))
        width = density.shape[1]
        for subject in range(n_subjects):
            n = int(rng.integers(5, 10))
            pixel = rng.choice(density.size, n, p=density.ravel() / density.sum())
            y, x = np.divmod(pixel, width)
            table.add(
                index,
                subject,
                np.round(x + rng.uniform(0, 0.99, n), 2),
                np.round(y + rng.uniform(0, 0.99, n), 2),
                duration_ms=rng.integers(120, 400, n),
            )
    fixations, _ = table.columns()
    return Recording(
        name="toy_gaze",
        image_names=tuple(f"toy{index:03}.png" for index in range(n_images)),
        image_sizes=np.array([_SIZES[index % 2] for index in range(n_images)]),
        image_files=tuple(partial(_png, i, seed) for i in range(n_images)),
        fixations=fixations,
        subject_names=tuple(f"subject{number}" for number in range(n_subjects)),
        meta=Meta(
            format="toy_gaze",
            edition=f"seed {seed}",
            licence="CC0",
            conventions=("made up: drawn from a known density",),
            found={"images": n_images, "rows": len(fixations)},
        ),
        pixels_per_dva=np.full(n_images, _PIXELS_PER_DVA),
    )


def toy_log_density(index: int, seed: int = 0) -> np.ndarray:
    """Returns the log density of fixations on a picture, float64 [height, width].

    Args:
        index: of the picture.
        seed: of the data set.

    Example:
        >>> round(float(np.exp(toy_log_density(0)).sum()), 6)
        1.0
    """
    height, width = _SIZES[index % 2]
    y, x = np.mgrid[:height, :width] + 0.5
    objects = np.zeros((height, width))
    for cx, cy, weight in _objects(index, seed):
        objects += weight * np.exp(
            -((x - cx) ** 2 + (y - cy) ** 2) / (2 * (0.6 * _RADIUS) ** 2)
        )
    center = np.exp(
        -(((x / width - 0.5) / 0.2) ** 2 + ((y / height - 0.5) / 0.2) ** 2) / 2
    )
    density = _OBJECT_SHARE * objects / objects.sum()
    density += _CENTER_SHARE * center / center.sum()
    density += (1 - _OBJECT_SHARE - _CENTER_SHARE) / density.size
    log_density = np.log(density)
    return log_density - logsumexp(log_density)


def toy_image(index: int, seed: int = 0) -> np.ndarray:
    """Returns a picture, uint8 [height, width, 3].

    Args:
        index: of the picture.
        seed: of the data set.

    Example:
        >>> toy_image(1).shape
        (160, 120, 3)
    """
    height, width = _SIZES[index % 2]
    rng = np.random.default_rng([seed, index, 2])
    y, x = np.mgrid[:height, :width] + 0.5
    ground = rng.uniform(60, 110, 3) + np.outer(
        y / height, rng.uniform(-30, 30, 3)
    ).reshape(height, width, 3)
    image = ground + rng.normal(0, 4, ground.shape)
    for cx, cy, weight in _objects(index, seed):
        inside = (x - cx) ** 2 + (y - cy) ** 2 < _RADIUS**2
        angle = rng.uniform(0, np.pi)
        stripes = np.sin((np.cos(angle) * x + np.sin(angle) * y) * 1.1) > 0
        colour = rng.uniform(0, 255, 3)
        # The more contrast, the more fixations.
        contrast = 0.4 + 0.6 * weight
        for mask, value in ((stripes, colour), (~stripes, 255 - colour)):
            pixels = inside & mask
            image[pixels] = (1 - contrast) * image[pixels] + contrast * value
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _objects(index: int, seed: int) -> list[tuple[float, float, float]]:
    """Returns x, y and relative weight of the discs on a picture."""
    rng = np.random.default_rng([seed, index, 0])
    height, width = _SIZES[index % 2]
    return [
        (
            float(rng.uniform(_RADIUS, width - _RADIUS)),
            float(rng.uniform(_RADIUS, height - _RADIUS)),
            float(rng.uniform(0.2, 1)),
        )
        for _ in range(int(rng.integers(1, 4)))
    ]


def _png(index: int, seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(toy_image(index, seed)).save(buffer, format="PNG")
    return buffer.getvalue()
