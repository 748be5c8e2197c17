"""Which pictures are meant: files, folders, patterns and lists become pictures."""

import dataclasses
import functools
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from deepgaze_jax.datasets.pictures import is_picture
from deepgaze_jax.errors import ConfigError

__all__ = ["Found", "find_pictures"]

_WILDCARDS = frozenset("*?[")

#: Where a folder really lies; asked once for each, not for each picture.
_Real = Callable[[Path], str]


@dataclasses.dataclass(frozen=True)
class Found:
    """A picture that is to be predicted.

    Attributes:
        path: of the file.
        subfolder: of the results, where the folders of the pictures are kept; parts
            are separated by `/`, empty for none.
        problem: why there is no picture, else empty.
        searched: it was found in a folder, by a pattern or in a list, not named.
    """

    path: Path
    subfolder: str = ""
    problem: str = ""
    searched: bool = False


def find_pictures(arguments: Sequence[Path], output: Path) -> list[Found]:
    """Return the pictures that arguments mean, each file once, in a fixed order.

    An argument is a picture file; a folder, which means the pictures below it, hidden
    ones and those in `output` apart; a pattern with `*`, `?`, `[...]` or `**`; or a
    `.txt` list with one path a line, relative to the list. Results keep the folders of
    the pictures: below the folder, below the part of the pattern without wildcards (of
    several of both, below the folder that holds them all), and below the folder of
    the list. Paths of a list that lie elsewhere keep all their folders.

    Args:
        arguments: as the user gave them.
        output: folder for the results, which is not searched.

    Raises:
        ConfigError: results would lie among the pictures of a folder, where the next
            run would take them for pictures.

    Example:
        >>> find_pictures([Path("a.jpg")], Path("out"))
        [Found(path=PosixPath('a.jpg'), subfolder='', problem='', searched=False)]
    """
    real = functools.cache(os.path.realpath)
    roots = [root for argument in arguments if (root := _root(argument)) is not None]
    base = os.path.commonpath(map(os.path.realpath, roots)) if roots else ""
    pictures: dict[Path, Found] = {}
    for argument in arguments:
        for picture in _pictures(argument, base, real(output), real):
            # A link is another name, which its user wants to see again.
            lies_at = Path(real(picture.path.parent), picture.path.name)
            pictures.setdefault(lies_at, picture)
    for argument in arguments:
        if argument.is_dir():
            _refuse_results_among(argument, pictures.values(), output)
    return list(pictures.values())


def _pictures(argument: Path, base: str, output: str, real: _Real) -> Iterator[Found]:
    if argument.is_dir():
        paths = _walk(argument, output)
        missing = "is a folder without pictures; name another one"
    elif _root(argument) is not None:
        # Sorted by bytes, so that the order is the same on every machine.
        matches = sorted(glob.glob(str(argument), recursive=True), key=os.fsencode)
        paths = [Path(match) for match in matches if is_picture(match)]
        paths = [path for path in paths if path.is_file()]
        missing = "no picture has such a name; check the pattern"
    elif _is_list(argument):
        yield from _of_list(argument, real)
        return
    else:
        yield Found(argument)
        return
    if not paths:
        yield Found(argument, problem=missing)
    for path in paths:
        yield Found(path, _below(real(path.parent), base), searched=True)


def _root(argument: Path) -> Path | None:
    """Return the folder that is searched for an argument; None if none is."""
    if argument.is_dir():
        return argument
    if argument.exists() or not _WILDCARDS & set(str(argument)):
        return None
    parts = argument.parent.parts
    fixed = next((n for n, part in enumerate(parts) if _WILDCARDS & set(part)), None)
    return Path(*parts[:fixed])


def _is_list(argument: Path) -> bool:
    return argument.suffix.lower() == ".txt" and argument.is_file()


def _walk(folder: Path, output: str) -> list[Path]:
    """Return the pictures below a folder, sorted bytewise."""
    paths = []
    for parent, subfolders, files in os.walk(folder):
        subfolders[:] = [
            name
            for name in subfolders
            if name[0] != "." and os.path.realpath(Path(parent, name)) != output
        ]
        paths += [Path(parent, name) for name in files if is_picture(name)]
    return sorted(paths, key=os.fsencode)


def _of_list(path: Path, real: _Real) -> Iterator[Found]:
    """Yield the pictures of a list, which may come from any system."""
    try:
        # Names of files need not be text; they come back as the bytes they are.
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        yield Found(path, problem=f"the list cannot be read ({error.strerror})")
        return
    lines = [line.strip() for line in text.split("\n")]
    if not any(lines):
        yield Found(path, problem="is an empty list; write one path a line")
    if "\0" in text:
        yield Found(path, problem="is no text; write one path a line")
        return
    base = real(path.parent)
    for line in filter(None, lines):
        picture = path.parent / line
        yield Found(picture, _below(real(picture.parent), base), searched=True)


def _below(folder: str, base: str) -> str:
    """Return a folder as seen from another one, or all of it."""
    parent = Path(folder)
    if parent.is_relative_to(base):
        parent = parent.relative_to(base)
    else:
        parent = parent.relative_to(parent.anchor)
    return "" if parent == Path() else parent.as_posix()


def _refuse_results_among(
    folder: Path, pictures: Iterable[Found], output: Path
) -> None:
    inside = Path(os.path.realpath(folder))
    out = Path(os.path.realpath(output))
    if inside in out.parents:
        return  # It is left out of the search.
    for subfolder in {picture.subfolder for picture in pictures}:
        if (out / subfolder).is_relative_to(inside):
            raise ConfigError(
                f"the results in {output} would lie among the pictures of {folder}; "
                "give another folder, which may lie below it"
            )
