"""CAT2000 as its authors publish it: FIXATIONLOCS maps and Stimuli."""

from dataclasses import replace
from pathlib import Path

from deepgaze_jax.datasets.readers.fixation_maps import MapLayout, read_maps
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.wording import counted

__all__ = ["read"]

_SIZE = (1080, 1920)
_LAYOUT = MapLayout(
    format="cat2000",
    map_folder="FIXATIONLOCS",
    citation=(
        "Borji & Itti (2015). CAT2000: a large scale fixation dataset for boosting "
        "saliency research. arXiv:1505.03581"
    ),
    conventions=("images of CAT2000 have grey padding, on which few fixations fall",),
)


def read(source: str | Path, *, images: str | Path | None = None) -> Recording:
    """Returns CAT2000: 20 categories of 100 images, as fixation maps.

    Args:
        source: folder with `Stimuli/<category>/NNN.jpg` and
            `FIXATIONLOCS/<category>/NNN.mat`, also below `trainSet/`. What only
            `allFixData.mat` holds (subjects, order) needs MATLAB.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        DataError: another layout, or a damaged file.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with FIXATIONLOCS/*.mat with fixLocs or fixations
    """
    recording = read_maps(source, _LAYOUT, images)
    other = (recording.image_sizes != _SIZE).any(axis=1)
    if other.any():
        are = counted(int(other.sum()), "is not", "are not")
        note = f"images of CAT2000 have 1920 x 1080 pixels; {are}: is this CAT2000?"
        recording = replace(recording, meta=recording.meta.noting(note))
    return recording
