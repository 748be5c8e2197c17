"""TFDS data sets of fixations as `FixationDataset` and `Recording`."""

import warnings
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.home import GENERIC, TFDS_FILES
from deepgaze_jax.datasets.picture_sources import RecordPictures
from deepgaze_jax.datasets.recording import Meta, Recording, subjects_in_order
from deepgaze_jax.datasets.tfds_examples import FORMAT_VERSION
from deepgaze_jax.errors import DataError
from deepgaze_jax.fixations import Fixations

__all__ = ["read_tfds_dataset", "read_tfds_recording"]

_COLUMNS = ("fixations", "subject", "fixation_index", "presentation", "row")
_NUMBERS = ("image_index", "height", "width", "pixels_per_dva")


def read_tfds_dataset(path: str | Path, split: str = "") -> FixationDataset:
    """Returns a built data set: all that a data folder of it would give, in its order.

    Pictures stay where they are and are read when they are wanted.

    Args:
        path: folder of one version, with `dataset_info.json`.
        split: only this part; all of them if left out.

    Raises:
        DataError: not such a data set, no such split, or damaged.
    """
    return _read(Path(path), split)[0]


def read_tfds_recording(path: str | Path, split: str = "") -> Recording:
    """Returns the same as a recording, with all that was noted when it was built.

    Args:
        path: folder of one version, with `dataset_info.json`.
        split: only this part; all of them if left out.

    Raises:
        DataError: not such a data set, no such split, or damaged.
    """
    dataset, columns, metadata = _read(Path(path), split)
    known = {f.name: metadata[f.name] for f in fields(Meta) if f.name in metadata}
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
    extra = {}
    if np.isfinite(columns["fixations"][:, 3]).any():
        extra["start_ms"] = columns["fixations"][:, 3]
    if (columns["presentation"] != b"").any():
        extra["presentation"] = np.array(
            [text.decode() for text in columns["presentation"]]
        )
    return Recording(
        name=dataset.name,
        image_names=dataset.image_names,
        image_sizes=dataset.image_sizes,
        image_files=tuple(
            partial(dataset.pictures.read_bytes, i) for i in range(len(dataset))
        ),
        fixations=dataset.fixations,
        subject_names=dataset.subject_names,
        meta=Meta(**known),
        pixels_per_dva=dataset.pixels_per_dva,
        extra=extra,
    )


def _read(
    path: Path, split: str
) -> tuple[FixationDataset, dict[str, np.ndarray], dict[str, Any]]:
    """Returns the data set, the columns of its rows and what was noted of it."""
    missing = [name for name in TFDS_FILES if not (path / name).is_file()]
    if missing:
        raise DataError(
            f"{path}: is a damaged TFDS data set: it lacks {' and '.join(missing)}; "
            "build it again: deepgaze data build --replace"
        )
    try:
        with warnings.catch_warnings():
            # TFDS asks newer protobuf in a deprecated way while it reads its notes.
            warnings.simplefilter("ignore", DeprecationWarning)
            builder = tfds.builder_from_directory(path)
        metadata = dict(builder.info.metadata or {})
        splits = tuple(builder.info.splits)
    except Exception as error:  # TFDS has many, none of its own.
        raise DataError(_not_readable(path, error)) from error
    version = metadata.get("examples_version")
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: is no data set of fixations that can be read: the version of its "
            f"examples is {version or 'not stated'}, expected {FORMAT_VERSION}; build "
            "it again: deepgaze data build --replace"
        )
    if split and split not in splits:
        raise DataError(f"{path}: has no split {split}; there are: {', '.join(splits)}")
    name = _name_of(builder, split)
    try:
        sources, places, found = _read_examples(builder, (split,) if split else splits)
    except Exception as error:
        raise DataError(_not_readable(path, error)) from error
    order = np.argsort(found["image_index"], kind="stable")
    image = np.repeat(np.argsort(order), found["n_rows"])
    columns = {column: np.concatenate(found[column]) for column in _COLUMNS}
    rows = np.argsort(columns["row"], kind="stable")
    columns = {column: values[rows] for column, values in columns.items()}
    columns["image"] = image[rows]
    names = tuple(found["image_name"][i] for i in order)
    sizes = np.stack([found["height"], found["width"]], axis=1)[order]
    scale = np.asarray(found["pixels_per_dva"], np.float64)[order]
    for array in (sizes, scale):
        array.setflags(write=False)
    subjects = tuple(metadata["subject_names"])
    columns["subject"], subjects = subjects_in_order(columns["subject"], subjects)
    x, y, duration_ms, _ = columns["fixations"].T
    dataset = FixationDataset(
        name=name,
        root=path,
        image_names=names,
        image_sizes=sizes,
        pixels_per_dva=scale if np.isfinite(scale).all() else None,
        fixations=Fixations(
            columns["image"],
            columns["subject"],
            columns["fixation_index"],
            x,
            y,
            duration_ms,
        ),
        subject_names=subjects,
        pictures=RecordPictures(
            name=name,
            names=names,
            sources=sources,
            places=tuple(places[i] for i in order),
            version=max(p.stat().st_mtime_ns for p in path.glob("*.array_record*")),
        ),
    )
    return dataset, columns, metadata


def _name_of(builder: tfds.core.DatasetBuilder, split: str) -> str:
    """Returns what a data set is called in results."""
    config = builder.builder_config
    config = getattr(config, "name", config)
    parts = [] if builder.name == GENERIC and config else [builder.name]
    name = "/".join([*parts, *([config] if config else [])])
    return f"{name}:{split}" if split else name


def _read_examples(
    builder: tfds.core.DatasetBuilder, splits: tuple[str, ...]
) -> tuple[tuple[Any, ...], list[tuple[int, int]], dict[str, list]]:
    """Returns data sources, where each example is, and the values of all examples."""
    raw = {"image": tfds.decode.SkipDecoding()}
    sources = tuple(builder.as_data_source(split=s, decoders=raw) for s in splits)
    names = ("image_name", "n_rows", *_NUMBERS, *_COLUMNS)
    found: dict[str, list] = {name: [] for name in names}
    places = []
    for number, source in enumerate(sources):
        for k in range(len(source)):
            example = source[k]
            places.append((number, k))
            found["image_name"].append(example["image_name"].decode())
            found["n_rows"].append(len(example["row"]))
            for name in _NUMBERS:
                found[name].append(np.asarray(example[name]).item())
            for name in _COLUMNS:
                found[name].append(np.asarray(example[name]))
    return sources, places, found


def _not_readable(path: Path, error: Exception) -> str:
    line = " ".join(str(error).split())[:120] or type(error).__name__
    return (
        f"{path}: is no TFDS data set, or damaged ({line}); build it again: deepgaze \
data build --replace"
    )
