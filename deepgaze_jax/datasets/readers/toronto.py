"""Toronto (Bruce & Tsotsos): one fixation map per image."""

from pathlib import Path

from deepgaze_jax.datasets.readers.fixation_maps import MapLayout, read_maps
from deepgaze_jax.datasets.recording import Recording

__all__ = ["read"]

_LAYOUT = MapLayout(
    format="toronto",
    size=(511, 681),
    citation=(
        "Bruce & Tsotsos (2007). Attention based on information maximization. Journal "
        "of Vision 7(9):950"
    ),
    conventions=("20 subjects looked at each image; who is not recorded",),
)


def read(source: str | Path, *, images: str | Path | None = None) -> Recording:
    """Returns the Toronto data set: 120 images of 681 x 511 pixels, as fixation maps.

    Args:
        source: folder with `N.mat`, and the pictures `N.jpg` somewhere below it.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        DataError: another layout, or a damaged file.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with maps/*.mat with fixLocs or fixations
    """
    return read_maps(source, _LAYOUT, images)
