"""Readers of eye-tracking files, one module for each format.

Each has a function `read(source, **options)` that returns a `Recording`.
"""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.errors import InputError

__all__ = ["FORMATS", "options_of", "read"]

#: What can be read: name of the module, and what it is for.
FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "cat2000": "CAT2000: Stimuli/ and FIXATIONLOCS/ maps",
        "eyelink": "EyeLink .asc or .asc.gz, one file per subject",
        "figrim": "FIGRIM: allImages_release.mat, allImages_fillers.mat",
        "fixations_folder": "a folder with images/ and fixations.csv",
        "mit1003": "MIT1003: ALLSTIMULI.zip, and raw gaze in DATA.zip",
        "mit1003_csv": "scanpath_MIT1003_<image>.csv, or of OSIE",
        "mit300": "MIT300: ALLSTIMULI/, and FIXATIONLOCS/ maps if there",
        "osie": "OSIE: fixations.mat, or mouse tracking",
        "pysaliency": "stimuli.hdf5 and fixations.hdf5",
        "salicon": "SALICON: .mat of 2015 and 2017, JSON of 2014",
        "table": "your own CSV, TSV or Parquet",
        "toronto": "Toronto: N.mat maps",
        "toy_gaze": "made up, with a known density; needs no files",
    }
)


def read(format: str, source: str | Path | None = None, **options: Any) -> Recording:
    """Returns a recording in one of `FORMATS`.

    Args:
        format: name of the format.
        source: folder or file.
        **options: of that format's reader.

    Raises:
        InputError: no such format.
        DataError: another layout, or a damaged file.

    Example:
        >>> len(read("toy_gaze", n_images=2).image_names)
        2
    """
    return _reader(format)(source, **options)


def options_of(format: str) -> tuple[str, ...]:
    """Returns the options that a format's reader has.

    Example:
        >>> options_of("osie")
        ('kind', 'images')
    """
    return tuple(inspect.signature(_reader(format)).parameters)[1:]


def _reader(format: str) -> Any:
    if format not in FORMATS:
        raise InputError(
            f"there is no format {format!r}; there are: {', '.join(FORMATS)}"
        )
    return importlib.import_module(f"{__name__}.{format}").read
