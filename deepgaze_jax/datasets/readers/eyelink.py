"""EyeLink `.asc` files: the tracker's own fixations (EFIX), on images on a screen."""

import gzip
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Literal

import numpy as np

from deepgaze_jax.datasets.recording import (
    ImageFile,
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
from deepgaze_jax.datasets.wording import contents, some
from deepgaze_jax.errors import DataError, InputError

__all__ = ["read"]

_MAX_ASC_BYTES = 8 * 2**30
_MAX_LINE = 1 << 16
_IMAGE_VARIABLES = ("image", "img", "picture", "stimulus", "image_name", "filename")
_COORDS = re.compile(
    r"(DISPLAY_COORDS|GAZE_COORDS)\s*=?\s*([\d.-]+)\s+([\d.-]+)\s+([\d.]+)\s+([\d.]+)"
)


@dataclass
class _Trial:
    """What is known of a trial while its lines are read."""

    name: str
    image: str = ""
    rect: tuple[float, float, float, float] | None = None
    centre: tuple[float, float] | None = None
    start: float = np.nan
    onset: float = np.nan
    px_per_degree: float = np.nan
    variables: set[str] = field(default_factory=set)
    fixations: list[tuple[str, float, float, float, float, float]] = field(
        default_factory=list
    )


def read(
    source: str | Path,
    *,
    eye: Literal["auto", "left", "right", "both"] = "auto",
    image_rect: tuple[float, float, float, float] | None = None,
    image_size: tuple[int, int] | None = None,
    image_variable: str | None = None,
    onset_message: str | None = None,
    images: str | Path | None = None,
) -> Recording:
    """Returns what EyeLink trackers recorded, one subject for each `.asc` file.

    A trial's image is the picture that an `!V IMGLOAD` message names, else the value of
    an `!V TRIAL_VAR` called image, img, picture, stimulus, image_name or filename, else
    the trial itself (`trial-<TRIALID>`). Screen coordinates become pixels of the image
    by the rectangle in which it was shown. Pixels per degree come from the RES that the
    tracker writes at the end of a trial.

    Args:
        source: folder with `.asc` or `.asc.gz` files.
        eye: of binocular recordings; auto takes the right one. A monocular recording
            is taken whatever eye it is of, except that `left` and `right` insist.
        image_rect: left, top, width and height of all images on the screen, in pixels
            of the screen; by default what IMGLOAD says, else the whole screen.
        image_size: (height, width) of images that are not there.
        image_variable: name of the TRIAL_VAR that holds the image.
        onset_message: text of the message at which the image appeared: fixations that
            began before it are dropped, and times count from there.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        DataError: no such files, or a file without DISPLAY_COORDS and fixations.
        InputError: a picture has another size than the screen and nothing says where on
            it the picture was.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with .asc or .asc.gz files
    """
    folder = require_folder(source, ".asc or .asc.gz files")
    files = list_files(folder)
    recordings = {
        n: f for n, f in files.items() if re.search(r"\.asc(\.gz)?$", n, re.I)
    }
    if not recordings:
        raise DataError(
            f"{folder}: has no .asc or .asc.gz files; found {contents(folder)}; make "
            "them of the .edf files with SR Research's edf2asc"
        )
    parsed = {
        person: _parse(recordings[n], image_variable, onset_message)
        for n, person in _people(recordings).items()
    }
    trials = [t for _, of_file in parsed.values() for t in of_file]
    names = sorted({t.image or f"trial-{t.name}" for t in trials}, key=natural_order)
    pictures = picture_files((list_files(Path(images)) if images else files).values())
    image_files = find_pictures(names, pictures)
    sizes = _sizes(names, image_files, image_size, parsed)
    table, image_of = ScanpathTable(), {name: i for i, name in enumerate(names)}
    resolution: dict[int, list[float]] = {}
    n_other_eye = n_before = 0
    shown: dict[tuple[int, int], int] = {}
    for subject, (screen, of_file) in enumerate(parsed.values()):
        for trial in of_file:
            image = image_of[trial.image or f"trial-{trial.name}"]
            shown[image, subject] = shown.get((image, subject), 0) + 1
            rows = _of_eye(trial, eye)
            n_other_eye += len(trial.fixations) - len(rows)
            zero = trial.start
            if onset_message is not None:
                zero = trial.onset
                after = [row for row in rows if row[1] >= zero]
                n_before += len(rows) - len(after)
                rows = after
            has_file = image_files[image] is not None
            x, y, scale = _on_image(
                rows, trial, screen, sizes[image], image_rect, has_file, names[image]
            )
            table.add(
                image,
                subject,
                x,
                y,
                duration_ms=np.array([row[3] for row in rows]),
                start_ms=np.array([row[1] for row in rows]) - zero,
                presentation=str(shown[image, subject]),
            )
            if np.isfinite(trial.px_per_degree):
                resolution.setdefault(image, []).append(trial.px_per_degree * scale)
    fixations, extra = table.columns()
    if max(shown.values(), default=1) == 1:
        extra.pop("presentation", None)
    per_image = [np.mean(resolution.get(i, [np.nan])) for i in range(len(names))]
    notes = [f"eye: {eye}", "screen pixels became pixels of the image"]
    if any(not t.image for t in trials):
        notes.append(_about_unnamed(trials, len(parsed)))
    return Recording(
        name="eyelink",
        image_names=tuple(names),
        image_sizes=sizes,
        image_files=image_files,
        fixations=fixations,
        subject_names=tuple(parsed),
        meta=Meta(
            format="eyelink",
            conventions=tuple(notes),
            found={
                "files": len(parsed),
                "trials": len(trials),
                "EFIX": sum(len(t.fixations) for t in trials),
            },
            dropped={
                reason: count
                for reason, count in (
                    ("of the other eye", n_other_eye),
                    ("before the image", n_before),
                )
                if count
            },
        ),
        pixels_per_dva=np.array(per_image) if np.isfinite(per_image).all() else None,
        extra=extra,
    )


def _people(files: Mapping[str, SourceFile]) -> dict[str, str]:
    """Returns the subject of each file: its name, with folders where needed."""
    paths = {
        name: re.sub(r"\.asc(\.gz)?$", "", name, flags=re.I)
        for name in sorted(files, key=natural_order)
    }
    short = [path.rpartition("/")[2] for path in paths.values()]
    alike = len(set(short)) < len(short)
    people = dict(zip(paths, paths.values() if alike else short, strict=True))
    names = list(people.values())
    if twice := [name for name, person in people.items() if names.count(person) > 1]:
        raise DataError(
            f"{' and '.join(twice[:2])}: are the same recording; remove one of them"
        )
    return people


def _about_unnamed(trials: list[_Trial], n_people: int) -> str:
    """Returns the note that trials say nothing of their images."""
    note = "trials that name no image became images of their own, trial-N"
    if n_people > 1:
        note += (
            "; trial N of every subject is taken for the same picture: if orders "
            "differed, name what holds the picture, --image-variable NAME"
        )
    variables = sorted({name for trial in trials for name in trial.variables})
    found = some(variables) if variables else "none"
    return f"{note} (TRIAL_VAR in the files: {found})"


def _lines(file: SourceFile) -> Iterator[str]:
    """Returns the lines of a file that is perhaps compressed, a bounded number."""
    stream: io.BufferedIOBase = io.BytesIO(file.read())
    if file.name.lower().endswith(".gz"):
        stream = gzip.GzipFile(fileobj=stream)
    left = _MAX_ASC_BYTES
    try:
        while line := stream.readline(_MAX_LINE):
            left -= len(line)
            if left < 0:
                raise DataError(
                    f"{file.where}: has more than {_MAX_ASC_BYTES:,} bytes of text; "
                    "convert it without samples (events only)"
                )
            yield line.decode("latin-1")
    except (OSError, EOFError) as error:
        raise DataError(
            f"{file.where}: is a damaged gzip archive ({error}); copy it again"
        ) from error


def _parse(
    file: SourceFile, image_variable: str | None, onset_message: str | None
) -> tuple[tuple[float, float, float, float], list[_Trial]]:
    """Returns left, top, width and height of the screen, and the trials."""
    screen, trials = None, [_Trial("0")]
    variables = (image_variable,) if image_variable else _IMAGE_VARIABLES
    for line in _lines(file):
        words = line.split()
        if not words:
            continue
        try:
            if words[0] == "EFIX":
                if len(words) < 7:
                    raise ValueError("too few values")
                trials[-1].fixations.append((words[1], *_numbers(words[2:7])))
            elif words[0] == "START":
                trials[-1].start = float(words[1])
            elif words[0] == "END" and "RES" in words:
                at = words.index("RES")
                values = _numbers(words[at + 1 : at + 3])
                trials[-1].px_per_degree = float(np.mean(values))
            elif words[0] == "MSG" and len(words) > 2:
                if match := _COORDS.search(line):
                    left, top, right, bottom = map(float, match.groups()[1:])
                    screen = screen or (left, top, right - left + 1, bottom - top + 1)
                elif words[2] == "TRIALID":
                    trials.append(_Trial("-".join(words[3:]) or str(len(trials))))
                else:
                    _message(trials[-1], words, variables, onset_message)
        except (ValueError, IndexError) as error:
            shown = line.strip()[:80]
            raise DataError(
                f"{file.where}: cannot read {shown!r} ({error}); is it complete? "
                "Convert the .edf file again"
            ) from error
    trials = [trial for trial in trials if trial.fixations]
    if not trials:
        raise DataError(
            f"{file.where}: has no EFIX lines; convert the .edf file with events"
        )
    if screen is None:
        raise DataError(
            f"{file.where}: has no DISPLAY_COORDS, so the screen is unknown; add the "
            "line MSG 0 DISPLAY_COORDS 0 0 <width-1> <height-1>"
        )
    return screen, trials


def _message(
    trial: _Trial, words: list[str], variables: tuple[str, ...], onset: str | None
) -> None:
    """Take from a message what says which image was where, and when."""
    # Messages may begin with an offset in milliseconds, which was before them.
    offset = re.fullmatch(r"-?\d+", words[2])
    text = words[3:] if offset else words[2:]
    if onset is not None and " ".join(text) == onset and np.isnan(trial.onset):
        trial.onset = float(words[1]) - (int(words[2]) if offset else 0)
    if text[:2] == ["!V", "IMGLOAD"] and len(text) > 3:
        mode, path, *rest = text[2:]
        trial.image = PureWindowsPath(path).name
        numbers = _numbers(rest)
        if mode == "CENTER" and len(numbers) == 2:
            trial.centre = (numbers[0], numbers[1])
        elif mode == "TOP_LEFT" and len(numbers) in (2, 4):
            size = numbers[2:] or [np.nan, np.nan]
            trial.rect = (numbers[0], numbers[1], size[0], size[1])
    elif text[:2] == ["!V", "TRIAL_VAR"] and len(text) > 3:
        trial.variables.add(text[2])
        named = text[2].lower() in variables or text[2] in variables
        if named and not trial.image:
            trial.image = PureWindowsPath(" ".join(text[3:])).name


def _numbers(words: list[str]) -> list[float]:
    return [np.nan if word == "." else float(word) for word in words]


def _of_eye(
    trial: _Trial, eye: str
) -> list[tuple[str, float, float, float, float, float]]:
    eyes = {row[0] for row in trial.fixations}
    if eye == "both":
        return trial.fixations
    wanted = {"left": "L", "right": "R"}.get(eye, "R" if "R" in eyes else "L")
    return [row for row in trial.fixations if row[0] == wanted]


def _sizes(
    names: list[str],
    files: tuple[ImageFile, ...],
    image_size: tuple[int, int] | None,
    parsed: Mapping[str, tuple[tuple[float, float, float, float], list[_Trial]]],
) -> np.ndarray:
    """Returns sizes of pictures; of those not there, as stated or of the screen."""
    sizes = fill_image_sizes(names, files)
    stated: dict[str, tuple[int, int]] = {}
    for (_, _, width, height), trials in parsed.values():
        for trial in trials:
            size = image_size or (round(height), round(width))
            stated.setdefault(trial.image or f"trial-{trial.name}", size)
    for index, name in enumerate(names):
        if files[index] is None:
            sizes[index] = stated[name]
    return sizes


def _on_image(
    rows: list[tuple[str, float, float, float, float, float]],
    trial: _Trial,
    screen: tuple[float, float, float, float],
    size: np.ndarray,
    image_rect: tuple[float, float, float, float] | None,
    has_file: bool,
    name: str,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns x and y in pixels of the image, and image pixels per screen pixel."""
    height, width = (int(side) for side in size)
    rect = image_rect or trial.rect
    if rect is None and trial.centre is not None:
        left, top = trial.centre[0] - width / 2, trial.centre[1] - height / 2
        rect = (left, top, width, height)
    if rect is None:
        if has_file and (height, width) != (screen[3], screen[2]):
            raise InputError(
                f"{name}: has {width} x {height} pixels, the screen {screen[2]:g} x "
                f"{screen[3]:g}, and no message says where it was shown; state its "
                "rectangle on the screen: --image-rect LEFT TOP WIDTH HEIGHT"
            )
        rect = screen
    left, top, shown_width, shown_height = rect
    if np.isnan(shown_width):
        shown_width, shown_height = width, height
    x = (np.array([row[4] for row in rows]) - left) * (width / shown_width)
    y = (np.array([row[5] for row in rows]) - top) * (height / shown_height)
    return x, y, width / shown_width
