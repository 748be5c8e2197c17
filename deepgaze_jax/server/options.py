"""Options of a prediction: from the query, or from the fields of a form."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepgaze_jax.plotting import OPACITY
from deepgaze_jax.server.problems import Problem

__all__ = ["PredictOptions", "read_options"]


class PredictOptions(BaseModel):
    """How a picture is to be predicted, and drawn.

    Attributes:
        model: name of a served model; the default one if left out.
        center_bias: a name in `center_bias_names()`; the model's own if left out.
        pixels_per_dva: pixels per degree of visual angle, as people see the picture.
        fold: see `Predictor.predict`.
        opacity: of the heat where the density is highest.
        contours: whether the drawing has lines.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[
        str | None, Field(description="Name of a served model; by default the first.")
    ] = None
    center_bias: Annotated[
        str | None,
        Field(
            description="Where people look whatever the picture shows: uniform, or the "
            "name of a data set; by default the model's own."
        ),
    ] = None
    pixels_per_dva: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Pixels per degree of visual angle, as people see the picture; "
            "by default that of the pictures that the model was trained on.",
        ),
    ] = None
    fold: Annotated[
        Literal["mixture", "auto"] | Annotated[int, Field(ge=0)],
        Field(
            description="mixture of all folds, auto (the fold that has not seen the "
            "picture), or the number of a fold."
        ),
    ] = "mixture"
    opacity: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="PNG: of the colours where the density is highest.",
        ),
    ] = OPACITY
    contours: Annotated[
        bool,
        Field(description="PNG: lines that split the fixations in four equal parts."),
    ] = True


_EXPECTED = {
    "pixels_per_dva": "a number above 0",
    "fold": "mixture, auto or the number of a fold",
    "opacity": "a number from 0 to 1",
    "contours": "true or false",
}


def read_options(named: Iterable[tuple[str, str]]) -> PredictOptions:
    """Return the options that a request names.

    Args:
        named: names and values, of the query and of a form.

    Raises:
        Problem: 400 for a name that there is not, or that is given twice; 422 for a
            value that it cannot have.

    Example:
        >>> read_options([("fold", "3"), ("contours", "false")]).fold
        3
    """
    values: dict[str, str] = {}
    for name, value in named:
        if name not in PredictOptions.model_fields:
            known = ", ".join(PredictOptions.model_fields)
            raise Problem(400, f"there is no option {name[:40]!r}; there are: {known}")
        if name in values:
            raise Problem(400, f"the option {name} is given twice; give it once")
        values[name] = value
    try:
        return PredictOptions.model_validate(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise Problem(
            422, f"{name} is {values[name][:40]!r}; expected {_EXPECTED[name]}"
        ) from None
