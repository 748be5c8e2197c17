"""How all figures look: one style, made for a column of print, readable in grey."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepgaze_jax.errors import InputError
from deepgaze_jax.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLUMN_WIDTH",
    "TEXT_WIDTH",
    "Look",
    "looks",
    "new_figure",
    "pretty_name",
    "save_figure",
    "style",
]

#: Widths of print in inches: one column, and both with the gap between them.
COLUMN_WIDTH, TEXT_WIDTH = 3.35, 6.9

_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # Comes with matplotlib: the same everywhere.
    "text.parse_math": False,  # Names may have a dollar in them.
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "hatch.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlepad": 3.0,
    "figure.constrained_layout.use": True,
    # Text stays text: fonts are embedded as outlines with their letters (type 42).
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "savefig.dpi": 220,
}

_NAMES = {
    "deepgaze2-osie": "DeepGaze II",
    "deepgaze2-osie-paper": "DeepGaze II (paper)",
    "deepgaze1-osie": "DeepGaze I",
    "icf-osie": "ICF",
    "gold-standard": "Gold standard",
    "center-bias": "Center bias",
    "joint": "All people",
    "uniform": "Uniform",
}

# From dark to light, so that the order survives a grey printer; hatches and markers
# tell neighbours apart.
_COLOURS = ("#1b3a5c", "#b5532a", "#4f9d8f", "#d9a441", "#8c7aa9", "#9fb8cc", "#c9c9c9")
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Look:
    """How a model is drawn wherever it appears.

    Attributes:
        colour: of areas and markers.
        hatch: of bars.
        marker: of points.
    """

    colour: str
    hatch: str
    marker: str


def looks(models: Sequence[str]) -> dict[str, Look]:
    """Returns how each model is drawn.

    Args:
        models: names, the most important one first.

    Example:
        >>> looks(["a", "b"])["a"].marker
        'o'
    """
    return {
        name: Look(
            _COLOURS[k % len(_COLOURS)],
            _HATCHES[k % len(_HATCHES)],
            _MARKERS[k % len(_MARKERS)],
        )
        for k, name in enumerate(models)
    }


def pretty_name(model: str, labels: dict[str, str] | None = None) -> str:
    """Returns what a figure calls a model.

    Args:
        model: name in the table.
        labels: names chosen by the author.

    Example:
        >>> pretty_name("deepgaze2-osie"), pretty_name("a", {"a": "Model A"})
        ('DeepGaze II', 'Model A')
    """
    return {**_NAMES, **(labels or {})}.get(model, model)


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draws in the style of all figures within the block, whatever the user's is."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float) -> "Figure":
    """Returns an empty figure that belongs to no window.

    Args:
        width: in inches.
        height: in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", folder: str | Path, stem: str) -> list[Path]:
    """Returns the files of a figure: PDF with vectors and embedded fonts, and PNG.

    Args:
        figure: drawn within `style`.
        folder: made if it is missing.
        stem: of the file names.

    Raises:
        InputError: a text with characters that the font does not have.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for suffix, metadata in (
        # Without dates: the same figure is the same file.
        ("pdf", {"CreationDate": None, "Creator": None, "Producer": None}),
        ("png", {"Software": None}),
    ):
        path = folder / f"{stem}.{suffix}"
        with replacing(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("error", "Glyph .* missing")
            try:
                figure.savefig(temporary, format=suffix, metadata=metadata)
            except UserWarning as warning:
                raise InputError(
                    f"{path}: {' '.join(str(warning).split())} choose other names for "
                    "print (--labels NAME=TEXT)"
                ) from warning
        files.append(path)
    return files
