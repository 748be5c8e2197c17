"""Where the results of each picture go, settled before anything is computed."""

import collections
import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Target", "plan_targets"]


@dataclasses.dataclass(frozen=True)
class Target:
    """A picture and the files that are made of it.

    Attributes:
        image: the picture.
        log_density: the array.
        overlay: the drawing.
        name: of the picture below the folder of the results, `/` between its parts.
        problem: why they cannot be written, else empty.
    """

    image: Path
    log_density: Path
    overlay: Path
    name: str = ""
    problem: str = ""


def plan_targets(
    images: Sequence[Path],
    output: Path,
    subfolders: Sequence[str] | None = None,
    problems: Sequence[str] | None = None,
) -> list[Target]:
    """Return where the results of each picture go, before anything is computed.

    Files are named by the stem of the picture, or by its full name where two pictures
    would share a file. An input is never overwritten.

    Args:
        images: pictures.
        output: folder for the results.
        subfolders: of `output`, one for each picture; by default none.
        problems: why there is no such picture, one text for each; by default none.

    Example:
        >>> pictures = [Path("a.jpg"), Path("b.jpg"), Path("x/b.png")]
        >>> [target.overlay.name for target in plan_targets(pictures, Path("out"))]
        ['a_overlay.png', 'b.jpg_overlay.png', 'b.png_overlay.png']
    """
    subfolders = [""] * len(images) if subfolders is None else subfolders
    problems = [""] * len(images) if problems is None else problems
    # Some file systems do not tell upper from lower case.
    folders = [folder.casefold() for folder in subfolders]
    where = _Where()
    inputs = {where(image) for image in images}
    stems = collections.Counter(
        (folder, image.stem.casefold())
        for folder, image in zip(folders, images, strict=True)
    )
    full = {
        (folder, image.name.casefold())
        for folder, image in zip(folders, images, strict=True)
        if stems[folder, image.stem.casefold()] > 1
    }
    taken: dict[tuple[str, str], Path] = {}
    targets = []
    for folder, image, problem in zip(subfolders, images, problems, strict=True):
        key = folder.casefold(), image.stem.casefold()
        stem = image.name if stems[key] > 1 or key in full else image.stem
        key = folder.casefold(), stem.casefold()
        log_density = output / folder / f"{stem}_log_density.npy"
        drawing = output / folder / f"{stem}_overlay.png"
        if problem:
            problem = f"{image}: {problem}"
        elif key in taken:
            problem = (
                f"{image}: its results would overwrite those of {taken[key]}; "
                "predict it into another folder"
            )
        elif {where(log_density), where(drawing)} & inputs:
            problem = (
                f"{image}: its results would overwrite an input; choose another folder"
            )
        taken.setdefault(key, image)
        name = f"{folder}/{image.name}" if folder else image.name
        targets.append(Target(image, log_density, drawing, name, problem))
    return targets


class _Where:
    """Says where a path leads; folders, which many share, are followed once."""

    def __init__(self) -> None:
        self._folder = functools.lru_cache(maxsize=4096)(os.path.realpath)

    def __call__(self, path: Path) -> str:
        if path.is_symlink() or path.name in ("", ".."):
            return os.path.realpath(path).casefold()
        return os.path.join(self._folder(path.parent), path.name).casefold()
