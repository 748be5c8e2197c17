"""MIT1003 as its authors publish it: ALLSTIMULI.zip, and raw gaze in DATA.zip."""

from pathlib import Path
from typing import Literal

import numpy as np

from deepgaze_jax.datasets.fixation_detection import (
    DetectionConfig,
    detect_fixations,
)
from deepgaze_jax.datasets.mat_files import read_mat
from deepgaze_jax.datasets.recording import (
    Meta,
    Recording,
    ScanpathTable,
    fill_image_sizes,
    find_pictures,
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

__all__ = ["read"]

_PIXELS_PER_DVA = 35.0
_CITATION = (
    "Judd, Ehinger, Durand & Torralba (2009). Learning to predict where humans look. "
    "ICCV 2009"
)


def read(
    source: str | Path,
    *,
    first_fixation: Literal["drop", "keep"] = "drop",
    detection: DetectionConfig | None = None,
    images: str | Path | None = None,
) -> Recording:
    """Returns MIT1003: 1003 images, 15 subjects, fixations found in their raw gaze.

    As everybody who compares with this data set does: fixations that are not inside the
    image (0 < x < width, 0 < y < height) are dropped, and so is the first fixation of
    every trial, which is the one on the cross before the image. Where the first one was
    outside, only that is dropped. Coordinates count from 1 and stay so.

    Args:
        source: folder with ALLSTIMULI.zip and DATA.zip, or both unpacked:
            `ALLSTIMULI/<stem>.jpeg` and `DATA/<subject>/<stem>.mat`.
        first_fixation: keep it, for models of whole scanpaths.
        detection: how fixations are found; the authors' way if left out.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        DataError: another layout, or a damaged file.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with ALLSTIMULI.zip and DATA.zip
    """
    folder = require_folder(source, "ALLSTIMULI.zip and DATA.zip")
    files = list_files(folder)
    trials = _trials(files)
    if not trials:
        raise DataError(
            f"{folder}: has no raw gaze; found {contents(folder)}; fetch DATA.zip, and "
            "leave it there as it is or unpacked (DATA/<subject>/*.mat)"
        )
    pictures = picture_files((list_files(Path(images)) if images else files).values())
    by_stem = {Path(name).stem: Path(name).name for name in pictures}
    stems = sorted({*by_stem, *(stem for _, stem in trials)}, key=natural_order)
    names = [by_stem.get(stem, f"{stem}.jpeg") for stem in stems]
    image_files = find_pictures(names, pictures)
    sizes = fill_image_sizes(names, image_files)
    detection = detection or DetectionConfig()
    subjects = sorted({subject for subject, _ in trials})
    table, image_of = ScanpathTable(), {stem: i for i, stem in enumerate(stems)}
    for (subject, stem), file in sorted(trials.items()):
        gaze = _raw_gaze(file)
        x, y, first, length = detect_fixations(gaze[:, 0], gaze[:, 1], detection)
        rate = detection.sampling_rate_hz
        # PARITY: samples count from 1 in the authors' code, and so does time.
        table.add(
            image_of[stem],
            subjects.index(subject),
            x,
            y,
            duration_ms=length / rate * 1000,
            start_ms=(first + 1) / rate * 1000,
        )
    fixations, extra = table.columns()
    height, width = sizes[fixations.image].T
    known = width > 0
    # PARITY: coordinates from 1 are compared with the frame as if they were from 0.
    inside = (fixations.x > 0) & (fixations.y > 0)
    inside &= ~known | ((fixations.x < width) & (fixations.y < height))
    first = fixations.fixation_index == 0
    dropped = {"outside the image": int((~inside).sum())}
    kept = inside
    if first_fixation == "drop":
        kept = inside & ~first
        dropped["first fixation"] = int((inside & first).sum())
    recording = Recording(
        name="mit1003",
        image_names=tuple(names),
        image_sizes=sizes,
        image_files=image_files,
        fixations=fixations,
        subject_names=tuple(subjects),
        meta=Meta(
            format="mit1003",
            edition=f"first fixation: {first_fixation}",
            citation=_CITATION,
            conventions=(
                f"fixations found with {detection}",
                "x, y count from 1 and stay so, as is the convention",
            ),
            found={
                "images": len(names),
                "trials": len(trials),
                "fixations detected": len(fixations),
            },
        ),
        pixels_per_dva=np.full(len(names), _PIXELS_PER_DVA),
        extra=extra,
    )
    return recording.select(kept, dropped)


def _trials(files: dict[str, SourceFile]) -> dict[tuple[str, str], SourceFile]:
    """Returns the files of raw gaze by subject and stem of the image."""
    trials = {}
    for name, file in files.items():
        parts = name.split("/")
        if "DATA" in parts[:-2] and name.lower().endswith(".mat"):
            trials[parts[-2], Path(parts[-1]).stem] = file
    return trials


def _raw_gaze(file: SourceFile) -> np.ndarray:
    """Returns [n, 2], x and y."""
    for value in read_mat(file).values():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            data = value[0].get("DATA")
            if isinstance(data, list) and data and "eyeData" in data[0]:
                gaze = np.asarray(data[0]["eyeData"], np.float64)
                if gaze.ndim == 2 and gaze.shape[1] >= 2:
                    return gaze[:, :2]
    raise DataError(
        f"{file.where}: has no struct with DATA(1).eyeData of shape [n, 2]; expected "
        "the raw gaze of MIT1003: fetch it again"
    )
