"""Own tables: CSV, TSV, semicolons or Parquet, one row per fixation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from deepgaze_jax.datasets.column_names import COLUMNS, find_columns, unused
from deepgaze_jax.datasets.own_tables import OwnTable, load_table
from deepgaze_jax.datasets.recording import (
    Meta,
    Recording,
    fill_image_sizes,
    find_pictures,
    match_images,
    running_index,
    to_milliseconds,
)
from deepgaze_jax.datasets.source_files import (
    list_files,
    picture_files,
    without_common_folder,
)
from deepgaze_jax.datasets.wording import contents, counted
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.fixations import Fixations

__all__ = [
    "TableOptions",
    "extra_columns",
    "read",
    "read_rows",
    "recording_of",
    "times",
]

_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq")


@dataclass(frozen=True)
class TableOptions:
    """How rows of a table become fixations.

    Attributes:
        columns: {ours: theirs}, for columns that are called in an unusual way.
        units: of x and y: pixels of the image, parts of its width and height (0..1),
            or degrees of visual angle.
        origin: where x and y are zero: `0` at the top left, the first pixel being 0;
            `1` the same with the first pixel being 1; `centre` of the image. Left out:
            `0`, and `centre` for degrees.
        y_axis: whether y grows downwards or upwards.
        time_unit: of durations and starts; told from their size if `auto`.
        image_size: (height, width) of images whose picture is not there.
        pixels_per_dva: of all images, where known.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    units: Literal["px", "normalised", "dva"] = "px"
    origin: Literal["0", "1", "centre"] | None = None
    y_axis: Literal["down", "up"] = "down"
    time_unit: Literal["auto", "ms", "s"] = "auto"
    image_size: tuple[int, int] | None = None
    pixels_per_dva: float | None = None


def read(
    source: str | Path,
    *,
    options: TableOptions | None = None,
    image: str | None = None,
    images: str | Path | None = None,
) -> Recording:
    r"""Returns the fixations of one or more tables of your own.

    Columns are recognised by usual names (image, stimulus, participant, fix_x,
    duration, ...) or named in `options.columns`. Needed are image, x and y. Without a
    subject column a table is one subject, called like the file; without a column
    fixation_index, rows are numbered as they come. Separator, encoding, decimal commas
    and seconds are detected and noted. Image names may lack folder and ending.

    Args:
        source: a table, or a folder in which every table is one.
        options: how to read it.
        image: the image, for a table that has no column of it.
        images: folder of the pictures; that of the table if left out.

    Raises:
        DataError: no table, a column is missing, or a text that is no number.
        InputError: options that contradict each other or the table.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "anna.csv")
        ...     _ = path.write_text("stimulus,fix_x,fix_y,duration\na,0.5,0.25,0.3\n")
        ...     options = TableOptions(units="normalised", image_size=(60, 80))
        ...     recording = read(path, options=options)
        >>> recording.fixations.x, recording.fixations.y, recording.subject_names
        (array([40.]), array([15.]), ('anna',))
        >>> recording.fixations.duration_ms
        array([300.], dtype=float32)
    """
    options = options or TableOptions()
    _check_options(options)
    path = Path(source)
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
        if not paths:
            raise DataError(
                f"{path}: has no table; found {contents(path)}; expected "
                f"{', '.join(_SUFFIXES)} files: give their folder"
            )
        folder = path
    else:
        paths, folder = [path], path.parent
    rows = read_rows([(p, image) for p in paths], options)
    return recording_of(rows, options, Path(images or folder))


def read_rows(
    tables: Sequence[tuple[Path, str | None]], options: TableOptions
) -> tuple[dict[str, np.ndarray], list[str], list[str], list[str]]:
    """Returns columns, names of images and of subjects (by index), and notes.

    Args:
        tables: files, and the image of those that have no column of it.
        options: how to read them.

    Raises:
        DataError: a column is missing, or a text that is no number.
    """
    pieces: dict[str, list[np.ndarray]] = {}
    image_of: dict[str, int] = {}
    subject_of: dict[str, int] = {}
    notes: dict[str, None] = {}
    for path, default_image in tables:
        table = load_table(path)
        found = _columns_of(table, options, default_image)
        notes.update(dict.fromkeys(table.notes))
        renamed = [f"{o} is {t!r}" for o, t in found.items() if o != t]
        if renamed:
            notes[f"columns: {', '.join(renamed)}"] = None
        known = {**found, "presentation": "presentation"}
        if left := unused(list(table.columns), known):
            notes[left] = None
        values = {
            "image": _indexed(table, found.get("image"), default_image, image_of),
            "subject": _indexed(table, found.get("subject"), path.stem, subject_of),
        }
        for name in ("fixation_index", "x", "y", "duration_ms", "start_ms"):
            if name in found:
                values[name], comma = table.floats(found[name])
                if comma:
                    notes["numbers have decimal commas"] = None
        if "presentation" in table.columns:
            values["presentation"] = np.array(table.texts("presentation"))
        unknown = np.full(len(table), np.nan)
        for name in ("fixation_index", "duration_ms", "start_ms"):
            values.setdefault(name, unknown)
        for name, column in values.items():
            pieces.setdefault(name, []).append(column)
    # What only some tables have is no column of all rows.
    n_tables = len(pieces.get("x", ()))
    columns = {
        name: np.concatenate(parts)
        for name, parts in pieces.items()
        if len(parts) == n_tables
    }
    if not len(columns["x"]):
        raise DataError(
            f"{tables[0][0]}: has no fixations below its header; export it again"
        )
    return columns, list(image_of), list(subject_of), list(notes)


def _check_options(options: TableOptions) -> None:
    unknown = [name for name in options.columns if name not in COLUMNS]
    if unknown:
        raise InputError(
            f"--columns names {', '.join(unknown)}; it can name {', '.join(COLUMNS)}"
        )
    if options.units == "dva" and options.pixels_per_dva is None:
        raise InputError("degrees become pixels by --pixels-per-dva; state it")
    if options.units == "normalised" and options.origin == "1":
        raise InputError(
            "normalised coordinates have no pixel to count from 1; leave --origin out"
        )


def _columns_of(
    table: OwnTable, options: TableOptions, image: str | None
) -> dict[str, str]:
    """Returns which column of the table each of ours is."""
    names = list(table.columns)
    found = find_columns(str(table.path), names, options.columns, options.units)
    missing = [n for n in ("image", "x", "y") if n not in found]
    if image is not None:
        missing = [name for name in missing if name != "image"]
    if missing:
        options_of_them = " ".join(f"{name}=..." for name in missing)
        advice = f"state which they are: --columns {options_of_them}"
        if missing == ["image"]:
            advice += ", or the image that the table is about: --image NAME"
        raise DataError(
            f"{table.path}: lacks {', '.join(missing)}; found {', '.join(names)}; "
            f"{advice}"
        )
    return found


def _indexed(
    table: OwnTable, column: str | None, default: str | None, known: dict[str, int]
) -> np.ndarray:
    """Returns the numbers of the names in a column; new names are added to `known`."""
    if column is None:
        names = [str(default)] * len(table)
    else:
        names = table.texts(column)
        if "" in names:
            row = names.index("")
            raise DataError(
                f"{table.path} line {table.lines[row]}: {column} is empty; fill it in "
                "or remove the row"
            )
    return np.array([known.setdefault(name, len(known)) for name in names], np.int64)


def recording_of(
    rows: tuple[dict[str, np.ndarray], list[str], list[str], list[str]],
    options: TableOptions,
    folder: Path,
) -> Recording:
    """Returns rows as a recording.

    Args:
        rows: of `read_rows`.
        options: how they are to be read.
        folder: of the pictures.

    Raises:
        InputError: coordinates need sizes of images that are not known.
    """
    columns, written, subjects, notes = rows
    pictures = picture_files(list_files(folder).values())
    short = without_common_folder(pictures)
    pictures = {short[name]: file for name, file in pictures.items()}
    matched, n_guessed = match_images(written, pictures)
    if n_guessed:
        are = counted(n_guessed, "image is", "images are")
        notes.append(f"{are} called a little differently in the table")
    # Two spellings of one picture are one image.
    named = [matched.get(name, name) for name in written]
    names = sorted(dict.fromkeys(named))
    position = {name: index for index, name in enumerate(names)}
    image = np.array([position[n] for n in named], np.int64)[columns["image"]]
    files = find_pictures(names, pictures)
    sizes = fill_image_sizes(names, files)
    if options.image_size is not None:
        missing = (sizes == 0).any(axis=1)
        sizes[missing] = options.image_size
    x, y = _in_pixels(columns["x"], columns["y"], sizes[image], options, notes)
    index = columns["fixation_index"]
    if np.isnan(index).all():
        index = running_index(image, columns["subject"])
        notes.append("no column fixation_index: rows are numbered as they come")
    elif np.nanmin(index) == 1:
        index = index - 1
        notes.append("fixation_index counted from 1")
    duration, start = times(columns, options, notes)
    n_unused = len(pictures) - len(set(named) & set(pictures))
    if n_unused:
        were = counted(
            n_unused, "picture without fixations was", "pictures without fixations were"
        )
        notes.append(f"{were} left out")
    ppd = options.pixels_per_dva
    return Recording(
        name="table",
        image_names=tuple(_plain(name) for name in names),
        image_sizes=sizes,
        image_files=files,
        fixations=Fixations(image, columns["subject"], index, x, y, duration),
        subject_names=tuple(subjects),
        meta=Meta(
            format="table",
            conventions=tuple(notes),
            found={"images": len(names), "rows": len(image)},
            origin_stated=options.origin is not None or options.units != "px",
        ),
        pixels_per_dva=None if ppd is None else np.full(len(names), ppd),
        extra=extra_columns(columns, start),
    )


def _plain(name: str) -> str:
    """Returns a name that stays below images/."""
    return "/".join(
        part
        for part in name.replace("\\", "/").split("/")
        if part not in ("", ".", "..")
    )


def _in_pixels(
    x: np.ndarray,
    y: np.ndarray,
    sizes: np.ndarray,
    options: TableOptions,
    notes: list[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels from the top left, counting from 0."""
    height, width = sizes.T.astype(np.float64)
    origin = options.origin or ("centre" if options.units == "dva" else "0")
    relative = options.units == "normalised" or origin == "centre"
    if (relative or options.y_axis == "up") and (sizes == 0).any():
        raise InputError(
            "the sizes of some images are not known, and the coordinates need them; "
            "give the pictures (--images DIR), or state the size: --image-size"
        )
    if options.units == "normalised":
        x, y = x * width, y * height
    elif options.units == "dva":
        x, y = x * options.pixels_per_dva, y * options.pixels_per_dva
    if options.y_axis == "up":
        y = -y if origin == "centre" else height - y
    if origin == "centre":
        x, y = x + width / 2, y + height / 2
    elif origin == "1":
        x, y = x - 1, y - 1
    notes.append(f"x, y: units {options.units}, origin {origin}, y {options.y_axis}")
    return x, y


def extra_columns(
    columns: Mapping[str, np.ndarray], start: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the further columns of a recording, as far as they are known.

    Args:
        columns: of `read_rows`.
        start: in milliseconds, NaN where unknown.
    """
    extra = {} if np.isnan(start).all() else {"start_ms": start}
    if "presentation" in columns:
        extra["presentation"] = columns["presentation"]
    return extra


def times(
    columns: Mapping[str, np.ndarray], options: TableOptions, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns durations and starts in milliseconds.

    Args:
        columns: of `read_rows`.
        options: which unit they have.
        notes: what was detected is added.
    """
    duration, start = columns["duration_ms"], columns["start_ms"]
    if options.time_unit == "s":
        return np.round(duration * 1000, 6), np.round(start * 1000, 6)
    if options.time_unit == "auto":
        duration, in_seconds = to_milliseconds(duration)
        if in_seconds:
            notes.append("durations, and times with them, are seconds in the table")
            start = np.round(start * 1000, 6)
    return duration, start
