"""`deepgaze data`: bring eye-tracking data in, and check it."""

import json as json_format
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from deepgaze_jax.cli.data_info import write_sheet
from deepgaze_jax.cli.messages import Bar, UsageError, complain
from deepgaze_jax.cli.options import unset
from deepgaze_jax.datasets import readers
from deepgaze_jax.datasets.cleaning import CleaningOptions, clean, without_unreadable
from deepgaze_jax.datasets.fixation_detection import DetectionConfig
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.home import check_dataset_name, data_home
from deepgaze_jax.datasets.opening import accepted_before, read_recording
from deepgaze_jax.datasets.readers.table import TableOptions
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation import validate as validate_recording
from deepgaze_jax.datasets.validation_report import (
    ValidationReport,
    check_accepted,
)
from deepgaze_jax.datasets.writing import write_recording
from deepgaze_jax.errors import DataError

__all__ = ["import_dataset", "validate"]

_FORMATS = ", ".join(readers.FORMATS)
_Pairs = Annotated[tuple[str, ...], unset("KEY=VALUE...")]


def import_dataset(
    format: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FORMAT")],
    source: Annotated[
        Path | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="SRC", help_behavior_hint=""),
    ] = None,
    /,
    *,
    name: str,
    replace: bool = False,
    images: Annotated[Path | None, unset("DIR")] = None,
    allow_missing_images: bool = False,
    drop_out_of_frame: bool = False,
    drop_nan: bool = False,
    drop_duplicates: bool = False,
    sort: bool = False,
    first_fixation: Annotated[
        Literal["drop", "keep"] | None, unset("drop|keep")
    ] = None,
    accept: Annotated[tuple[str, ...], unset("CHECK...")] = (),
    pixels_per_dva: Annotated[float | None, unset("X")] = None,
    edition: Annotated[str | None, unset("2015|2017")] = None,
    kind: Annotated[str | None, unset("KIND")] = None,
    split: Annotated[str | None, unset("train|val")] = None,
    presentations: Annotated[tuple[str, ...], unset("NAME...")] = (),
    dataset: Annotated[str | None, unset("MIT1003|OSIE")] = None,
    detection: _Pairs = (),
    eye: Annotated[str | None, unset("EYE")] = None,
    image_rect: Annotated[
        tuple[float, float, float, float] | None, unset("LEFT TOP WIDTH HEIGHT")
    ] = None,
    image_variable: Annotated[str | None, unset("NAME")] = None,
    onset_message: Annotated[str | None, unset("TEXT")] = None,
    columns: _Pairs = (),
    image: Annotated[str | None, unset("NAME")] = None,
    image_size: Annotated[str | None, unset("WIDTHxHEIGHT")] = None,
    units: Annotated[
        Literal["px", "normalised", "dva"] | None, unset("px|normalised|dva")
    ] = None,
    origin: Annotated[Literal["0", "1", "centre"] | None, unset("0|1|centre")] = None,
    y_axis: Annotated[Literal["down", "up"] | None, unset("down|up")] = None,
    time_unit: Annotated[Literal["ms", "s"] | None, unset("ms|s")] = None,
    json: bool = False,
) -> int:
    """Read eye-tracking files of any format, check them, and make a data set of them.

    Prints a report. Problems stop the import unless an option says what to do about
    them. The new data set is then --data NAME of the other commands.

    Args:
        format: cat2000, eyelink, figrim, fixations_folder, mit1003,
            mit1003_csv, mit300, osie, pysaliency, salicon, table, toronto
            or toy_gaze; a table is your own CSV, TSV or Parquet.
        source: Folder of the files; for table also one file.
        name: How to call the data set.
        replace: Replace a data set of this name.
        images: Folder of the pictures, where they are elsewhere.
        allow_missing_images: Keep fixations on images that have no
            readable picture.
        drop_out_of_frame: Drop rows outside of their image.
        drop_nan: Drop rows without x or y.
        drop_duplicates: Drop rows that repeat an earlier one.
        sort: Put rows in order and number them anew.
        first_fixation: Drop the first fixation of every scanpath, or
            keep it though it is on the cross.
        accept: Checks whose problems are known and accepted.
        pixels_per_dva: Pixels per degree of visual angle.
        edition: salicon: 2015 or 2017.
        kind: osie: eye or mouse; salicon: fixations or mouse.
        split: salicon: train or val only.
        presentations: figrim: of enc, rec and rec2.
        dataset: mit1003_csv: MIT1003 or OSIE.
        detection: mit1003: how fixations are found, for example
            threshold_dva_per_s=6 max_gap_samples=12.
        eye: eyelink: auto, left, right or both.
        image_rect: eyelink: where images were on the screen.
        image_variable: eyelink: the TRIAL_VAR that names the image.
        onset_message: eyelink: the message at which images appeared.
        columns: table: ours=theirs, for example x=FixX subject=Person.
        image: table: the image, if no column says.
        image_size: table, eyelink: of images that are not there.
        units: table: of x and y.
        origin: table: where x and y are zero: the first pixel is 0, or
            1, or it is the centre of the image.
        y_axis: table: where y grows.
        time_unit: table: of durations, if detected wrongly.
        json: Print the report as JSON.
    """
    given = {
        "images": images,
        "edition": edition,
        "kind": kind,
        "split": split,
        "presentations": presentations or None,
        "dataset": dataset,
        "detection": _detection(detection),
        "eye": eye,
        "image_rect": image_rect,
        "image_variable": image_variable,
        "onset_message": onset_message,
        "columns": _pairs(columns, "columns") or None,
        "image": image,
        "image_size": _size(image_size),
        "units": units,
        "origin": origin,
        "y_axis": y_axis,
        "time_unit": time_unit,
    }
    check_dataset_name(name)
    check_accepted(accept)
    if (data_home() / name).exists() and not replace:
        raise DataError(
            f"{data_home() / name}: exists; choose another name, or --replace it"
        )
    options = _reader_options(format, source, given, pixels_per_dva, first_fixation)
    recording = readers.read(format, source, **options)
    recording = _named(recording, name, pixels_per_dva)
    in_reader = "first_fixation" in options
    recording = clean(
        recording,
        CleaningOptions(
            drop_out_of_frame,
            drop_nan,
            drop_duplicates,
            sort,
            None if in_reader else first_fixation,
        ),
    )
    accepted = set(accept)
    accepted |= {"first_fixation"} if first_fixation == "keep" else set()
    if allow_missing_images:
        accepted |= {"images_missing", "images_unreadable"}
    with Bar("image", "checking") as bar:
        report = validate_recording(recording, tuple(accepted), bar)
    _print_report(report, recording, json)
    if report.problems:
        n = len(report.problems)
        complain(
            f"{n} problem{'s' if n > 1 else ''}; nothing was written. Each line above "
            "says what can be done"
        )
        return 1
    recording = without_unreadable(recording, report.unreadable)
    path = write_recording(recording, data_home(), name, report, replace)
    written = read_folder(path, allow_missing_images=True)
    write_sheet(path / "contact_sheet.png", written)
    if not json:
        print(path)
    return 0


def validate(
    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")],
    /,
    accept: Annotated[tuple[str, ...], unset("CHECK...")] = (),
    json: bool = False,
) -> int:
    """Check a data set; exit code 1 if there are problems.

    Args:
        data: Name (NAME:SPLIT of built ones), or folder with images/
            and fixations.csv.
        accept: Checks whose problems are known and accepted, besides
            those accepted when it was imported.
        json: Print the report as JSON.
    """
    check_accepted(accept)
    recording = read_recording(data)
    with Bar("image", "checking") as bar:
        known = {*accept, *accepted_before(data)}
        report = validate_recording(recording, tuple(known), bar)
    _print_report(report, recording, json)
    return 1 if report.problems else 0


# --- options --------------------------------------------------------------------------


def _reader_options(
    format: str,
    source: Path | None,
    given: dict[str, Any],
    pixels_per_dva: float | None,
    first_fixation: str | None,
) -> dict[str, Any]:
    """Returns the options of a format's reader; refuses those it does not have."""
    if format not in readers.FORMATS:
        raise UsageError(f"there is no format {format!r}; there are: {_FORMATS}")
    if source is None and format != "toy_gaze":
        raise UsageError(f"{format} needs SRC, the folder of its files")
    given = {name: value for name, value in given.items() if value is not None}
    has = readers.options_of(format)
    if "options" in has:
        of_table = {f.name for f in fields(TableOptions)} & set(given)
        values = {name: given.pop(name) for name in of_table}
        given["options"] = TableOptions(**values, pixels_per_dva=pixels_per_dva)
    if "first_fixation" in has and first_fixation is not None:
        given["first_fixation"] = first_fixation
    wrong = [name for name in given if name not in has]
    if wrong:
        flags = ", ".join("--" + name.replace("_", "-") for name in wrong)
        raise UsageError(f"{flags}: not an option of {format}")
    return given


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    if len(pairs) < len(texts) or not all(k and v for k, v in pairs.items()):
        raise UsageError(f"--{option} takes KEY=VALUE, each key once")
    return pairs


def _detection(texts: Sequence[str]) -> DetectionConfig | None:
    if not texts:
        return None
    known = {f.name: f.type for f in fields(DetectionConfig)}
    values: dict[str, Any] = {}
    for key, text in _pairs(texts, "detection").items():
        if key not in known:
            raise UsageError(f"--detection has {key}; it takes {', '.join(known)}")
        try:
            values[key] = known[key](text)
        except ValueError as error:
            raise UsageError(f"--detection {key}={text}: not a number") from error
    return DetectionConfig(**values)


def _size(text: str | None) -> tuple[int, int] | None:
    """Returns (height, width)."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"--image-size {text}: expected WIDTHxHEIGHT, as 800x600")
    return int(height), int(width)


# --- results --------------------------------------------------------------------------


def _named(recording: Recording, name: str, pixels_per_dva: float | None) -> Recording:
    if pixels_per_dva is None:
        return replace(recording, name=name)
    if not pixels_per_dva > 0:
        raise UsageError(f"--pixels-per-dva {pixels_per_dva}: expected more than 0")
    values = np.full(len(recording.image_names), pixels_per_dva)
    return replace(recording, name=name, pixels_per_dva=values)


def _print_report(report: ValidationReport, recording: Recording, json: bool) -> None:
    if json:
        print(json_format.dumps(report.to_json()))
        return
    print(report.text())
    for note in recording.meta.conventions:
        print(f"  NOTE     {note}")
