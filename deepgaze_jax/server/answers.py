"""From the bytes of a picture to the bytes of an answer. Runs off the event loop."""

import functools
import io
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from PIL import Image

from deepgaze_jax.datasets.pictures import picture_size
from deepgaze_jax.errors import ConfigError, DataError, TooLargeError
from deepgaze_jax.images import as_bytes, load_image
from deepgaze_jax.model_cards import ChosenFold, fold_text, own_center_bias
from deepgaze_jax.named_center_bias import center_bias_names
from deepgaze_jax.plotting import overlay
from deepgaze_jax.predictor import Predictor
from deepgaze_jax.server.options import PredictOptions

__all__ = [
    "MEDIA_TYPES",
    "Answer",
    "Question",
    "answer_all",
    "batch_key",
    "pooled_log_density",
]

Kind = Literal["json", "npy", "png"]

#: What a client may ask for; the first is the default.
MEDIA_TYPES: dict[str, Kind] = {
    "application/json": "json",
    "application/x-npy": "npy",
    "image/png": "png",
}

#: Cells of a pooled density on its longest side.
MAX_CELLS = 64


@dataclass(frozen=True)
class Question:
    """A picture, and what is asked about it.

    Attributes:
        predictor: the model.
        data: the picture file.
        options: how to predict and draw.
        kind: of answer.
        max_pixels: larger pictures are refused.
    """

    predictor: Predictor
    data: bytes
    options: PredictOptions
    kind: Kind
    max_pixels: int


@dataclass(frozen=True)
class Answer:
    """What the client gets.

    Attributes:
        body: of the response.
        media_type: of the body.
        n_pixels: of the picture.
        headers: with the model, fold, center bias and scale that were used.
    """

    body: bytes
    media_type: str
    n_pixels: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Prepared:
    """A question with its decoded picture."""

    question: Question
    picture: np.ndarray
    seen: tuple[int, int]
    fold: ChosenFold


def answer_all(questions: list[Question]) -> list[Answer | Exception]:
    """Return the answers to questions, in their order; an error where there is none.

    Pictures of one size, for one model and scale, go through the network together.
    """
    answers: dict[int, Answer | Exception] = {}
    together: dict[Hashable, list[int]] = {}
    prepared: dict[int, _Prepared] = {}
    for number, question in enumerate(questions):
        try:
            one = prepared[number] = _prepare(question)
        except Exception as error:
            answers[number] = error
        else:
            options = question.options
            key = question.predictor.name, one.picture.shape, options.pixels_per_dva
            together.setdefault(key, []).append(number)
    for numbers in together.values():
        group = [prepared.pop(number) for number in numbers]
        try:
            log_densities = _log_densities(group)
        except Exception as error:
            answers |= dict.fromkeys(numbers, error)
            continue
        for number, one, log_density in zip(numbers, group, log_densities, strict=True):
            try:
                answers[number] = _drawn(one, log_density())
            except Exception as error:
                answers[number] = error
    return [answers[number] for number in range(len(questions))]


def _prepare(question: Question) -> _Prepared:
    """Return the picture, if it may be computed with these options."""
    predictor, options = question.predictor, question.options
    check_center_bias_name(options.center_bias)
    picture = load_image(question.data, max_pixels=question.max_pixels, name="picture")
    size = picture.shape[:2]
    seen = predictor.model_size(size, options.pixels_per_dva)
    # A small value of pixels_per_dva makes a small picture large.
    effort = seen[0] * seen[1] / predictor.image_scale() ** 2
    if options.pixels_per_dva is not None and effort > question.max_pixels:
        raise TooLargeError(
            f"picture: {size[0]}x{size[1]} pixels at {options.pixels_per_dva:g} pixels "
            f"per degree take as much as {effort / 1e6:.4g} megapixels; at most "
            f"{question.max_pixels / 1e6:.4g} are computed: shrink it, or check "
            "pixels_per_dva"
        )
    fold = predictor.fold_for(picture, options.fold)
    return _Prepared(question, picture, seen, fold)


def _log_densities(group: list[_Prepared]) -> list[Callable[[], np.ndarray]]:
    """Return what computes the log densities of pictures of one size, one by one."""
    predictor = group[0].question.predictor
    pictures = [one.picture for one in group]
    if len(group) == 1:
        # Large pictures take less memory than by their features, and the result is
        # that of the library bit by bit.
        compute, inputs = predictor.predict_picture, pictures
    else:
        scale = group[0].question.options.pixels_per_dva
        inputs = predictor.features(np.stack(pictures), pixels_per_dva=scale)
        compute = functools.partial(
            predictor.log_density_of_features, image_size=pictures[0].shape[:2]
        )
    return [
        functools.partial(
            compute,
            given,
            center_bias=one.question.options.center_bias,
            fold=one.fold,
            pixels_per_dva=one.question.options.pixels_per_dva,
        )
        for one, given in zip(group, inputs, strict=True)
    ]


def _drawn(one: _Prepared, log_density: np.ndarray) -> Answer:
    """Return the answer, in the form that is asked for."""
    question, size = one.question, one.picture.shape[:2]
    predictor, options = question.predictor, question.options
    name = fold_text(one.fold)
    facts = {
        "model": predictor.name,
        "fold": name if isinstance(one.fold, tuple) else one.fold,
        "center_bias": options.center_bias or own_center_bias(one.fold),
        "pixels_per_dva": options.pixels_per_dva
        or predictor.card.get("pixels_per_dva"),
    }
    n_pixels = size[0] * size[1]
    if question.kind == "json":
        facts |= {
            "height": size[0],
            "width": size[1],
            "model_height": one.seen[0],
            "model_width": one.seen[1],
            "log_density": _values(pooled_log_density(log_density)),
        }
        return Answer(json.dumps(facts).encode(), "application/json", n_pixels)
    headers = {
        # The name of a model's file may have any letters, a header has ASCII.
        f"X-DeepGaze-{name.replace('_', '-').title()}": quote(str(value), " (),:+=@")
        for name, value in facts.items()
        if value is not None
    }
    file = io.BytesIO()
    if question.kind == "npy":
        np.save(file, np.ascontiguousarray(log_density))
        return Answer(file.getvalue(), "application/x-npy", n_pixels, headers)
    # As bytes: a picture that is nearly black is no picture scaled to 0..1.
    drawing = overlay(
        as_bytes(one.picture),
        log_density,
        opacity=options.opacity,
        contours=options.contours,
    )
    Image.fromarray(drawing).save(file, format="PNG", compress_level=4)
    return Answer(file.getvalue(), "image/png", n_pixels, headers)


def batch_key(question: Question) -> Hashable:
    """Return what pictures have in common that can be computed together.

    None where the header of the picture does not tell its size.
    """
    try:
        size = picture_size(question.data)
    except DataError:
        return None
    return question.predictor.name, size, question.options.pixels_per_dva


def check_center_bias_name(name: str | None) -> None:
    """Refuse whatever is not a known name: no file of this machine is opened."""
    if name is not None and name not in center_bias_names():
        raise ConfigError(
            f"there is no center bias {name[:40]!r}; there are: "
            f"{', '.join(center_bias_names())}"
        )


def pooled_log_density(
    log_density: np.ndarray, max_cells: int = MAX_CELLS
) -> np.ndarray:
    """Return the log of the probability of each cell of a coarse grid.

    Pixel y of H belongs to row floor(y h / H).

    Args:
        log_density: [height, width], natural logarithm of the probability per pixel.
        max_cells: on the longest side of the result.

    Returns:
        float64 [h, w]; log-sum-exp as that of the argument.

    Example:
        >>> np.exp(pooled_log_density(np.log(np.full((2, 4), 1 / 8)), 2))
        array([[0.5, 0.5]])
    """
    scale = min(1.0, max_cells / max(log_density.shape))
    sides = [max(1, round(side * scale)) for side in log_density.shape]
    highest = float(log_density.max())
    density = np.exp(log_density.astype(np.float64) - highest)
    for axis, (side, cells) in enumerate(zip(log_density.shape, sides, strict=True)):
        first = -(-np.arange(cells) * side // cells)
        density = np.add.reduceat(density, first, axis=axis)
    # A cell of which no pixel is above the smallest number is as unlikely as that.
    return np.log(np.maximum(density, np.finfo(np.float64).tiny)) + highest


def _values(grid: np.ndarray) -> dict[str, Any]:
    height, width = grid.shape
    return {"height": height, "width": width, "values": grid.round(6).tolist()}
