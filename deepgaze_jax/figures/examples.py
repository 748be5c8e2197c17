"""Figures of single images: where models are best, worst, and what they gain where."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepgaze_jax.errors import DataError
from deepgaze_jax.figures.panels import (
    draw_density,
    draw_gain,
    draw_photograph,
    draw_points,
    gain_scale,
)
from deepgaze_jax.figures.score_tables import GOLD, Scores
from deepgaze_jax.figures.style import TEXT_WIDTH, new_figure, pretty_name
from deepgaze_jax.sampling import sample_fixations

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Example",
    "draw_examples",
    "draw_gains",
    "extreme_differences",
    "extreme_images",
]

# Inches: above the first row, for the line below a panel, between panels, between
# examples, and what fits on a page with a caption.
_TITLE, _TEXT, _GAP, _BETWEEN, _MAX_HEIGHT = 0.18, 0.15, 0.04, 0.07, 8.2
_EDGE = 0.01  # So that frames are not cut in half.


@dataclass(frozen=True, eq=False)
class Example:
    """An image with what people and models say about it.

    Attributes:
        name: of the image.
        image: RGB 0..255, [height, width, 3].
        x: [n], fixations, pixels from the left.
        y: [n], pixels from the top.
        densities: model -> density [height, width], in the order of the columns.
        ig: model -> information gain on this image, bits per fixation.
        baseline: density of what the gain is measured over; only gains per pixel need
            it.
    """

    name: str
    image: np.ndarray
    x: np.ndarray
    y: np.ndarray
    densities: dict[str, np.ndarray]
    ig: dict[str, float]
    baseline: np.ndarray | None = None


def extreme_images(scores: Scores, model: str, n: int) -> tuple[list[str], list[str]]:
    """Returns the images on which a model is best, and those on which it is worst.

    That is where its information gain is closest to the gold standard's (or above it)
    and where it falls short most; without a gold standard, where it is highest and
    lowest.

    Args:
        scores: of the model.
        model: its name.
        n: number of images of each kind; fewer, if there are not twice as many.
    """
    if scores.has_gold:
        return extreme_differences(scores, model, GOLD, n)
    images, (own,) = scores.common(model)
    return _ends(images, own, n)


def extreme_differences(
    scores: Scores, model: str, other: str, n: int
) -> tuple[list[str], list[str]]:
    """Returns the images with the largest gain, and those with the largest loss.

    Args:
        scores: of both models.
        model: name of the one that gains or loses.
        other: name of the one that it is compared with.
        n: number of images of each kind; fewer, if there are not twice as many.
    """
    images, (own, others) = scores.common(model, other)
    return _ends(images, own - others, n)


def draw_examples(
    examples: Sequence[Example], labels: dict[str, str] | None = None, seed: int = 0
) -> "Figure":
    """Returns a figure with two rows per image: densities above, fixations below.

    On the left the photograph and people's fixations; for every model the density, with
    lines that split it into four parts of equal mass, and as many fixations drawn from
    it as people made.

    Args:
        examples: with the same models.
        labels: names chosen by the author.
        seed: of the drawn fixations.

    Raises:
        DataError: no example.
    """

    def density(axes: "Axes", example: Example, model: str) -> None:
        draw_photograph(axes, example.image, pale=True)
        draw_density(axes, example.densities[model])
        axes.set_xlabel(f"IG {_bits(example.ig[model])}", labelpad=2)

    def drawn(axes: "Axes", example: Example, model: str) -> None:
        draw_photograph(axes, example.image, pale=True)
        with np.errstate(divide="ignore"):
            log_density = np.log(example.densities[model])
        draw_points(axes, *sample_fixations(log_density, len(example.x), seed))

    return _grid(examples, labels, [density, drawn])


def draw_gains(
    examples: Sequence[Example], labels: dict[str, str] | None = None
) -> "Figure":
    """Returns a figure of where each model gains and loses information.

    Per pixel that is p_gold * (log2 p_model - log2 p_baseline); its sum is the
    information gain that people who follow the gold standard would give. Solid lines
    and blue are gains, dashed lines and red losses, on one scale for each image.

    Args:
        examples: with the gold standard among the models.
        labels: names chosen by the author.

    Raises:
        DataError: no example, or no gold standard.
    """
    if not examples or GOLD not in examples[0].densities:
        raise DataError("gains per pixel need the gold standard among the models")
    tiny = np.finfo(np.float64).tiny
    gains, scales = {}, {}
    for example in examples:
        people = example.densities[GOLD]
        for model, density in example.densities.items():
            ratio = np.log2(np.maximum(density, tiny) / example.baseline)
            gains[example.name, model] = people * ratio
        scales[example.name] = gain_scale(
            gains[example.name, model] for model in example.densities
        )

    def gain(axes: "Axes", example: Example, model: str) -> None:
        draw_photograph(axes, example.image, pale=True)
        values = gains[example.name, model]
        draw_gain(axes, values, scales[example.name])
        axes.set_xlabel(f"sum {_bits(values.sum())}", labelpad=2)

    return _grid(examples, labels, [gain])


_Draw = Callable[["Axes", Example, str], None]


def _grid(
    examples: Sequence[Example], labels: dict[str, str] | None, rows: Sequence[_Draw]
) -> "Figure":
    """Returns a figure with the photograph and one column per model."""
    if not examples:
        raise DataError("there is no image to draw")
    models = list(examples[0].densities)
    n_columns = 1 + len(models)
    # Placed by hand: panels of photographs line up exactly, whatever their shape.
    aspects = [example.image.shape[0] / example.image.shape[1] for example in examples]
    texts = _TITLE + len(examples) * (_TEXT + _GAP * len(rows) + _BETWEEN)
    side = min(
        (TEXT_WIDTH - 2 * _EDGE - _GAP * (n_columns - 1)) / n_columns,
        (_MAX_HEIGHT - texts) / (len(rows) * sum(aspects)),
    )
    width = n_columns * side + _GAP * (n_columns - 1) + 2 * _EDGE
    height = texts + side * len(rows) * sum(aspects) - _BETWEEN + _EDGE
    figure = new_figure(width, height)
    figure.set_layout_engine("none")

    def panel(column: int, top: float, aspect: float) -> "Axes":
        left = (_EDGE + column * (side + _GAP)) / width
        bottom = (height - top - side * aspect) / height
        return figure.add_axes((left, bottom, side / width, side * aspect / height))

    top = _TITLE
    for k, (example, aspect) in enumerate(zip(examples, aspects, strict=True)):
        for row, draw in enumerate(rows):
            first = panel(0, top, aspect)
            if row == 0:
                draw_photograph(first, example.image)
                first.set_xlabel(f"{len(example.x)} fixations", labelpad=2)
            else:
                draw_photograph(first, example.image, pale=True)
                draw_points(first, example.x, example.y)
            drawn = [panel(column + 1, top, aspect) for column in range(len(models))]
            for axes, model in zip(drawn, models, strict=True):
                draw(axes, example, model)
                if k == row == 0:
                    axes.set_title(pretty_name(model, labels))
            if k == row == 0:
                title = "Image, fixations" if len(rows) > 1 else "Image"
                first.set_title(title)
            top += side * aspect + _GAP + (_TEXT if row == 0 else 0)
        top += _BETWEEN
    return figure


def _bits(value: float) -> str:
    return f"{value:.2f} bit".replace("-", "\N{MINUS SIGN}")


def _ends(
    images: Sequence[str], values: np.ndarray, n: int
) -> tuple[list[str], list[str]]:
    n = min(n, max(1, len(images) // 2))
    order = np.argsort(-values, kind="stable")
    best = [images[k] for k in order[:n]]
    worst = [images[k] for k in order[::-1][:n]]
    return best, worst
