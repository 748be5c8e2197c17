"""MIT300 and what is published like it: ALLSTIMULI and FIXATIONLOCS."""

from pathlib import Path

from deepgaze_jax.datasets.readers.fixation_maps import MapLayout, read_maps
from deepgaze_jax.datasets.recording import Recording

__all__ = ["read"]

_LAYOUT = MapLayout(
    format="mit300",
    map_folder="FIXATIONLOCS",
    citation=(
        "Judd, Durand & Torralba (2012). A benchmark of computational models of "
        "saliency to predict human fixations. MIT-CSAIL-TR-2012-001"
    ),
    conventions=("the fixations of MIT300 are hidden: most images have none",),
)


def read(source: str | Path, *, images: str | Path | None = None) -> Recording:
    """Returns MIT300: 300 images, and fixation maps for those that have one.

    Args:
        source: folder with `ALLSTIMULI/*.jpg` and perhaps `FIXATIONLOCS/*.mat`.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        DataError: another layout, or a damaged file.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with FIXATIONLOCS/*.mat with fixLocs or fixations
    """
    return read_maps(source, _LAYOUT, images)
