"""A sheet of small pictures with the fixations on them: one look tells upright."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from deepgaze_jax.errors import InputError
from deepgaze_jax.files import replacing
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.images import load_image

__all__ = ["SHEET_FORMATS", "contact_sheet", "write_contact_sheet"]

#: Endings of files that a sheet can be written to, and what they are.
SHEET_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}

_CELL, _GAP, _CAPTION = 240, 8, 14
_MAX_POINTS = 400
_COLOURS = ("#e6194b", "#ffe119", "#3cb44b", "#4363d8", "#f58231", "#42d4f4", "#f032e6")


def contact_sheet(
    names: Sequence[str],
    image_sizes: np.ndarray,
    read_image: Callable[[int], object],
    fixations: Fixations,
    n_images: int = 20,
    n_columns: int = 5,
) -> np.ndarray:
    """Returns a picture of some images with their fixations, uint8 [h, w, 3].

    Images are taken evenly from those with fixations; a grey field stands for a missing
    picture. Colours tell subjects apart; of very many points some are drawn.

    Args:
        names: of the images.
        image_sizes: [n, 2], height and width.
        read_image: returns what `load_image` takes, for an image index.
        fixations: of the data set.
        n_images: at most so many.
        n_columns: in a row.

    Example:
        >>> fixations = Fixations([0], [0], [0], [5], [5])
        >>> contact_sheet(["a"], np.array([[60, 80]]), lambda i: None, fixations).shape
        (210, 256, 3)
    """
    used = np.unique(fixations.image)
    used = used[np.unique(np.linspace(0, len(used) - 1, n_images).astype(int))]
    cells = [
        _cell(int(i), names[i], image_sizes[i], read_image, fixations) for i in used
    ]
    columns = min(n_columns, len(cells))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) + _GAP for row in rows]
    sheet = Image.new(
        "RGB", (columns * (_CELL + _GAP) + _GAP, sum(heights) + _GAP), "white"
    )
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (_GAP + column * (_CELL + _GAP), top))
        top += height
    return np.asarray(sheet)


def write_contact_sheet(path: str | Path, sheet: np.ndarray) -> None:
    """Writes the sheet as its ending says, whole or not at all.

    Args:
        path: with an ending of `SHEET_FORMATS`.
        sheet: of `contact_sheet`.
    """
    kind = SHEET_FORMATS[Path(path).suffix.lower()]
    with replacing(path) as temporary:
        Image.fromarray(sheet).save(temporary, format=kind)


def _cell(
    index: int,
    name: str,
    size: np.ndarray,
    read_image: Callable[[int], object],
    fixations: Fixations,
) -> Image.Image:
    height, width = (int(side) for side in size)
    scale = _CELL / max(width, height)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    try:
        pixels = np.rint(load_image(read_image(index))).astype(np.uint8)
        picture = Image.fromarray(pixels).resize(small)
    except InputError:
        picture = Image.new("RGB", small, "#b0b0b0")
    cell = Image.new("RGB", (_CELL, small[1] + _CAPTION), "white")
    cell.paste(picture, (0, 0))
    draw = ImageDraw.Draw(cell)
    rows = np.flatnonzero(fixations.image == index)
    caption = f"{name[-34:]}  {len(rows)}"
    rows = rows[:: max(1, len(rows) // _MAX_POINTS)]
    radius = 2 if len(rows) < 200 else 1
    for row in rows:
        x, y = fixations.x[row] * scale, fixations.y[row] * scale
        if 0 <= x < small[0] and 0 <= y < small[1]:
            colour = _COLOURS[int(fixations.subject[row]) % len(_COLOURS)]
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, fill=colour, outline="black" if radius > 1 else None)
    draw.text((0, small[1] + 1), caption, fill="black")
    return cell
