"""Binary fixation maps: CAT2000, MIT300, Toronto, and what is published like them.

A `.mat` file per image holds `fixLocs` or `fixations`, the size of the image, with the
number of fixations on each pixel. Who looked, when and for how long is not in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepgaze_jax.datasets.mat_files import read_mat
from deepgaze_jax.datasets.recording import (
    ImageFile,
    Meta,
    Recording,
    ScanpathTable,
    fill_image_sizes,
)
from deepgaze_jax.datasets.source_files import (
    SourceFile,
    list_files,
    natural_order,
    picture_files,
    require_folder,
)
from deepgaze_jax.datasets.wording import contents
from deepgaze_jax.errors import DataError

__all__ = ["MapLayout", "read_maps"]

_VARIABLES = ("fixLocs", "fixations")
_IMAGE_FOLDERS = ("Stimuli", "ALLSTIMULI", "images", "BenchmarkIMAGES")
# Pictures that are results, not stimuli.
_NOT_STIMULI = {"FIXATIONMAPS", "FIXATIONHISTOGRAM", "FIXATIONLOCS", "Output"}
_MAX_COUNT = 10_000


@dataclass(frozen=True)
class MapLayout:
    """What differs between data sets of this kind.

    Attributes:
        format: name of the reader.
        citation: the paper to cite.
        map_folder: folder of the maps; they lie anywhere if left out.
        size: (height, width) of all images, or None.
        conventions: what else to know.
    """

    format: str
    citation: str
    map_folder: str = ""
    size: tuple[int, int] | None = None
    conventions: tuple[str, ...] = ()


def read_maps(
    source: str | Path, layout: MapLayout, images: str | Path | None = None
) -> Recording:
    """Returns a data set of fixation maps; all looks belong to one unknown subject.

    Args:
        source: folder of the data set.
        layout: what differs between data sets.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        DataError: neither maps nor pictures, or a damaged file.
    """
    expected = f"{layout.map_folder or 'maps'}/*.mat with fixLocs or fixations"
    folder = require_folder(source, expected)
    files = list_files(folder)
    maps = _maps(folder, files, layout)
    pictures = _pictures(files if images is None else list_files(Path(images)))
    by_stem = {_stem(name): name for name in pictures}
    stems = sorted({*maps, *by_stem}, key=natural_order)
    if not stems:
        raise DataError(
            f"{folder}: has neither maps nor pictures; found {contents(folder)}; give "
            f"the folder with {expected}"
        )
    names = tuple(by_stem.get(stem, f"{stem}.jpg") for stem in stems)
    image_files = tuple(pictures.get(name) for name in names)
    table, stated = ScanpathTable(), {}
    for index, stem in enumerate(stems):
        if stem in maps:
            x, y, stated[names[index]] = _points(maps[stem])
            table.add(index, 0, x, y)
        elif layout.size is not None:
            stated[names[index]] = layout.size
    fixations, extra = table.columns()
    splits = tuple(_split(maps.get(stem)) for stem in stems)
    return Recording(
        name=layout.format,
        image_names=names,
        image_sizes=fill_image_sizes(names, image_files, stated),
        image_files=image_files,
        fixations=fixations,
        subject_names=("all",),
        meta=Meta(
            format=layout.format,
            kind="fixation maps",
            citation=layout.citation,
            conventions=(
                "a fixation stands at its pixel of the map, counted from 0",
                "subjects, order and durations are not in the files",
                *layout.conventions,
            ),
            found={"images": len(names), "maps": len(maps), "rows": len(fixations)},
        ),
        splits=splits if any(splits) else None,
        extra=extra,
    )


def _maps(
    folder: Path, files: Mapping[str, SourceFile], layout: MapLayout
) -> dict[str, SourceFile]:
    """Returns the maps by the name of their image without its ending."""
    maps = {}
    for name, file in files.items():
        parts = name.split("/")
        if not name.lower().endswith(".mat") or parts[-1] == "allFixData.mat":
            continue
        if layout.map_folder in parts:
            maps[_stem("/".join(parts[parts.index(layout.map_folder) + 1 :]))] = file
        elif not layout.map_folder:
            maps[_stem(name)] = file
    objects = [name for name in files if name.endswith("allFixData.mat")]
    if objects and not maps:
        raise DataError(
            f"{folder}: has {objects[0]}, a MATLAB Map object that only MATLAB opens; "
            f"get the {layout.map_folder} folder, which holds the same fixations"
        )
    return maps


def _pictures(files: Mapping[str, SourceFile]) -> dict[str, ImageFile]:
    """Returns what reads each stimulus, by its name below the folder of stimuli."""
    found = {}
    for name, file in picture_files(files.values()).items():
        parts = name.split("/")
        if _NOT_STIMULI & set(parts[:-1]):
            continue
        marks = [i for i, part in enumerate(parts[:-1]) if part in _IMAGE_FOLDERS]
        short = "/".join(parts[marks[-1] + 1 :] if marks else parts)
        if short in found:
            raise DataError(
                f"{name} and another picture are both called {short}; give the folder "
                "of one part of the data set (as trainSet/)"
            )
        found[short] = file
    return found


def _points(file: SourceFile) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Returns x and y of all looks, and height and width of the map."""
    variables = read_mat(file, _VARIABLES)
    name = next(name for name in _VARIABLES if name in variables)
    counts = variables[name]
    if not isinstance(counts, np.ndarray) or counts.ndim != 2 or not counts.size:
        raise DataError(f"{file.where}: {name} is not a map of numbers; fetch it again")
    counts = counts.astype(np.float64)
    whole = (counts >= 0) & (counts <= _MAX_COUNT) & (counts == np.floor(counts))
    if not whole.all():
        raise DataError(
            f"{file.where}: {name} has values that are no counts, first "
            f"{counts[~whole][0]}; a blurred map holds no fixations: give the binary"
        )
    y, x = np.nonzero(counts)
    times = counts[y, x].astype(np.int64)
    return np.repeat(x, times), np.repeat(y, times), counts.shape


def _split(file: SourceFile | None) -> str:
    """Returns the authors' part that a file belongs to, or nothing."""
    parts = file.name.split("/") if file else []
    return "train" if "trainSet" in parts else "test" if "testSet" in parts else ""


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
