"""Recordings become examples of TFDS: what all builders share.

An example is an image: the bytes of its file, its place in the author's order (records
lie in the order of a hash) and its fixations, with the place of each in the author's
table. So what is read back is what a data folder of the same recording holds.
"""

import abc
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from deepgaze_jax.datasets import readers
from deepgaze_jax.datasets.cleaning import CleaningOptions, clean, without_unreadable
from deepgaze_jax.datasets.published import Published, compare
from deepgaze_jax.datasets.recording import Recording, subjects_in_order
from deepgaze_jax.datasets.validation import validate
from deepgaze_jax.datasets.validation_report import ValidationReport
from deepgaze_jax.datasets.writing import describe
from deepgaze_jax.errors import DataError

__all__ = [
    "FORMAT_VERSION",
    "PUBLISHED",
    "BuildOptions",
    "FixationsBuilder",
    "read_source",
]

#: Of the examples; readers refuse those of a later one.
FORMAT_VERSION = 1

#: What data sets that were published once may lose, as everybody who uses them does.
PUBLISHED = CleaningOptions(drop_out_of_frame=True, drop_nan=True)

_PICTURE_CHECKS = frozenset({"images_missing", "images_unreadable"})
_MAX_PROBLEMS_SHOWN = 3


@dataclass(frozen=True)
class BuildOptions:
    """What a user may say besides where the files are.

    Attributes:
        images: folder of the pictures, where they are elsewhere.
        allow_missing_images: leave images without a readable picture out, with their
            fixations; otherwise they are an error.
        allow_part: accept fewer images and subjects than were published.
        accept: checks whose problems are known and accepted.
        progress: called as `progress(stage, done, total)` with images; stages are
            `checking` and `writing`.
    """

    images: Path | None = None
    allow_missing_images: bool = False
    allow_part: bool = False
    accept: tuple[str, ...] = ()
    progress: Callable[[str, int, int], None] | None = None


class FixationsBuilder(
    tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True
):
    """What TFDS calls, for every data set of fixations; each says how it is read.

    Attributes:
        options: what the user of `build_dataset` has said.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    options = BuildOptions()

    @abc.abstractmethod
    def read(self, source: Path) -> tuple[Recording, ValidationReport]:
        """Returns the recording in a folder, and the report on it: `read_source`."""

    def _info(self) -> tfds.core.DatasetInfo:
        return _dataset_info(self)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        recording, report = self.read(Path(dl_manager.manual_dir))
        return _split_recordings(self, recording, report)

    def _generate_examples(self, recording: Any, images: Any) -> Iterator[Any]:
        return _examples(recording, images, self.options.progress)


def _dataset_info(builder: tfds.core.DatasetBuilder) -> tfds.core.DatasetInfo:
    """Returns the information of a data set; all of them have the same features."""
    as_bytes = tfds.features.Encoding.BYTES  # Numbers of 64 bits stay what they are.
    features = {
        "image": tfds.features.Image(
            shape=(None, None, None), doc="the picture; its file's bytes are stored"
        ),
        "image_name": tfds.features.Text(doc="of the picture's file"),
        "image_index": tfds.features.Scalar(np.int64, doc="in the author's order"),
        "height": tfds.features.Scalar(np.int64, doc="pixels of the upright picture"),
        "width": tfds.features.Scalar(np.int64, doc="pixels of the upright picture"),
        "pixels_per_dva": tfds.features.Tensor(
            shape=(),
            dtype=np.float64,
            encoding=as_bytes,
            doc="pixels per degree of visual angle; NaN where unknown",
        ),
        "fixations": tfds.features.Tensor(
            shape=(None, 4),
            dtype=np.float64,
            encoding=as_bytes,
            doc="x and y in pixels from the upper left edge, duration and start in "
            "ms; NaN where unknown",
        ),
        "subject": tfds.features.Tensor(
            shape=(None,), dtype=np.int64, doc="index into subject_names (metadata)"
        ),
        "fixation_index": tfds.features.Tensor(
            shape=(None,), dtype=np.int64, doc="in the scanpath"
        ),
        "presentation": tfds.features.Tensor(
            shape=(None,), dtype=np.str_, doc="of the image; empty where there is one"
        ),
        "row": tfds.features.Tensor(
            shape=(None,), dtype=np.int64, doc="of the table of all fixations"
        ),
    }
    return builder.dataset_info_from_configs(
        features=tfds.features.FeaturesDict(features),
        metadata=tfds.core.MetadataDict(),
    )


def read_source(
    format: str,
    source: str | Path,
    options: BuildOptions,
    cleaning: CleaningOptions = PUBLISHED,
    accept: tuple[str, ...] = (),
    published: Published | None = None,
    **reader_options: Any,
) -> tuple[Recording, ValidationReport]:
    """Returns a recording fit for examples, and the report on it.

    Args:
        format: one of `readers.FORMATS`.
        source: folder of the files.
        options: of the user.
        cleaning: rows that may go, which the recording counts.
        accept: checks that this data set is known to fail.
        published: what there should be; the recording notes what was found of it.
        **reader_options: of the format's reader.

    Raises:
        DataError: another layout, a damaged file, or problems that nobody accepted.
    """
    if options.images is not None and "images" in readers.options_of(format):
        reader_options["images"] = options.images
    recording = readers.read(format, source, **reader_options)
    if published is not None:
        counts = compare(recording, published, str(source), options.allow_part)
        recording = replace(recording, meta=replace(recording.meta, published=counts))
    recording = clean(recording, cleaning)
    # Accepting a check says nothing of pictures: without one there is no example.
    accept = tuple({*accept, *options.accept} - _PICTURE_CHECKS)
    if options.allow_missing_images:
        accept += tuple(_PICTURE_CHECKS)
    checking = options.progress and partial(options.progress, "checking")
    report = validate(recording, accept, checking)
    if problems := report.problems:
        said = [f"{check.text} ({check.name})" for check in problems]
        more = len(said) - _MAX_PROBLEMS_SHOWN
        said[_MAX_PROBLEMS_SHOWN:] = [f"and {more} more"] if more > 0 else []
        remedies = [check.remedy for check in problems if check.remedy]
        remedy = f"; first remedy: {remedies[0]}" if remedies else ""
        raise DataError(
            f"{source}: {len(problems)} problem{'s' if len(problems) > 1 else ''}: "
            f"{'; '.join(said)}{remedy}"
        )
    recording = without_unreadable(recording, report.unreadable)
    return _with_pictures(recording), report


def _with_pictures(recording: Recording) -> Recording:
    """Returns the recording without images that have no picture; they are counted."""
    there = np.array([file is not None for file in recording.image_files], bool)
    if there.all():
        return recording
    if not there.any():
        raise DataError(
            f"{recording.name}: no image has its picture; say where they "
            "are: --images DIR"
        )
    rows = there[recording.fixations.image]
    n_gone = int((~there).sum())
    recording = recording.select(
        rows,
        {"images without a picture": n_gone, "fixations on them": int((~rows).sum())},
    )
    number = np.cumsum(there) - 1
    kept = np.flatnonzero(there)
    scale, splits = recording.pixels_per_dva, recording.splits
    return replace(
        recording,
        image_names=tuple(recording.image_names[i] for i in kept),
        image_sizes=recording.image_sizes[kept],
        image_files=tuple(recording.image_files[i] for i in kept),
        fixations=replace(recording.fixations, image=number[recording.fixations.image]),
        pixels_per_dva=None if scale is None else np.asarray(scale)[kept],
        splits=None if splits is None else tuple(splits[i] for i in kept),
    )


def _split_recordings(
    builder: tfds.core.GeneratorBasedBuilder,
    recording: Recording,
    report: ValidationReport,
) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
    """Returns the examples of each split; notes in the builder where they come from.

    Splits are those that the authors define; where they define none, it is `train`.

    Args:
        builder: whose examples they are.
        recording: as `read_source` returns it.
        report: on it.

    Raises:
        DataError: the size of an image is not known.
    """
    if (recording.image_sizes <= 0).any():
        raise DataError(
            f"{recording.name}: the sizes of some images are not known; add their "
            "pictures: --images DIR"
        )
    # As in a data folder.
    subject, names = subjects_in_order(
        recording.fixations.subject, recording.subject_names
    )
    recording = replace(
        recording,
        fixations=replace(recording.fixations, subject=subject),
        subject_names=names,
    )
    config = builder.builder_config
    meta = describe(recording, config.name if config else builder.name, report)
    meta |= {
        "examples_version": FORMAT_VERSION,
        "subject_names": list(recording.subject_names),
    }
    # A copy without tuples and numpy's numbers, as it comes back from the file.
    builder.info.metadata.update(json.loads(json.dumps(meta, default=int)))
    splits = [split or "train" for split in recording.splits or ()]
    splits = splits or ["train"] * len(recording.image_names)
    return {
        split: builder._generate_examples(
            recording, [i for i, s in enumerate(splits) if s == split]
        )
        for split in dict.fromkeys(splits)
    }


def _examples(
    recording: Recording,
    images: list[int],
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields key and example of some images.

    Args:
        recording: with the pictures of all of them.
        images: their indices.
        progress: as in `BuildOptions`.
    """
    fixations, extra = recording.fixations, recording.extra
    n = len(fixations)
    start = np.asarray(extra.get("start_ms", np.full(n, np.nan)), np.float64)
    presentation = np.asarray(extra.get("presentation", np.full(n, "")), object)
    points = [fixations.x, fixations.y, fixations.duration_ms, start]
    points = np.stack([np.asarray(column, np.float64) for column in points], axis=1)
    scale = recording.pixels_per_dva
    # As in a data folder: known for all images or for none.
    if scale is None or not np.isfinite(scale).all():
        scale = np.full(len(recording.image_names), np.nan)
    order = np.argsort(fixations.image, kind="stable")
    ends = np.cumsum(np.bincount(fixations.image, minlength=len(scale)))
    for done, image in enumerate(images, start=1):
        rows = order[ends[image - 1] if image else 0 : ends[image]]
        height, width = recording.image_sizes[image].tolist()
        example = {
            "image": recording.image_files[image](),
            "image_name": recording.image_names[image],
            "image_index": image,
            "height": height,
            "width": width,
            "pixels_per_dva": float(scale[image]),
            "fixations": points[rows],
            "subject": fixations.subject[rows].astype(np.int64),
            "fixation_index": fixations.fixation_index[rows].astype(np.int64),
            "presentation": presentation[rows],
            "row": rows,
        }
        yield recording.image_names[image], example
        if progress is not None:
            progress("writing", done, len(images))
