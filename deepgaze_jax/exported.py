"""A model as one file that JAX runs without this package.

The file is a zip archive of two members: `program`, the bytes of `jax.export` (a
StableHLO program with all parameters inside of it), and `card.json`, what the program
is and for how long it can be read.
"""

import datetime
import importlib.util
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

import deepgaze_jax
from deepgaze_jax import any_size
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.files import replacing
from deepgaze_jax.predictor import Predictor

__all__ = ["PLATFORMS", "SUFFIX", "export_program"]

#: How the names of such files end.
SUFFIX = ".jaxexport"

#: What the programs run on.
PLATFORMS = ("cpu", "cuda", "tpu")

_COMPATIBILITY = (
    "JAX promises to run a program for 6 months after the JAX version that wrote it, "
    "and on versions up to 3 weeks older; export the model again for others"
)


def export_program(
    predictor: Predictor,
    path: str | Path,
    *,
    platforms: Sequence[str] = PLATFORMS,
) -> Path:
    """Return the file of a model's program for pictures of any size, written here.

    The program takes a picture, RGB 0..255, float32 [H, W, 3], and returns what
    `Predictor.predict` does without options: the mixture of folds with the model's own
    center bias at the scale of its card, float32 [H, W]. A program has no bands of
    rows: memory grows with the picture.

    Args:
        predictor: the model.
        path: file to write, ending in `.jaxexport`.
        platforms: on what the program is to run, in JAX's names.

    Raises:
        InputError: another ending of the file.
        ConfigError: flatbuffers, which jax.export needs, is not installed; a platform
            that JAX does not know; or a scale that no size can have.
        WeightsError: the feature weights are missing or of another family.

    Example:
        >>> from deepgaze_jax.prediction import load_pretrained
        >>> predictor = load_pretrained("icf")
        >>> export_program(predictor, "icf.jaxexport").name  # doctest: +SKIP
        'icf.jaxexport'
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: the name of a program has to end in {SUFFIX}")
    unknown = sorted(set(platforms) - {"cpu", "cuda", "rocm", "tpu"})
    if unknown or not platforms:
        raise ConfigError(
            f"platforms is {list(platforms)}; expected some of cpu, cuda, rocm, tpu"
        )
    if importlib.util.find_spec("flatbuffers") is None:
        raise ConfigError(
            "programs need flatbuffers, which is not installed; pip install "
            "'deepgaze-jax[export]'"
        )
    sizes = any_size.Sizes.of(predictor.model, predictor.image_scale())
    program = _program(predictor, sizes, platforms)
    card = {
        "format_version": 1,
        "name": predictor.name,
        "input": "RGB 0..255, float32 [height, width, 3]",
        "output": "natural log of each pixel's probability, float32 [height, width]",
        "smallest_side": sizes.smallest,
        "largest_side": sizes.largest,
        "platforms": list(platforms),
        "feature_precision": predictor.feature_precision,
        "jax_version": jax.__version__,
        "exported_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "compatibility": _COMPATIBILITY,
        "code_version": deepgaze_jax.__version__,
        "model_sha256": predictor.sha256,
        "model": dict(predictor.card),
    }
    with (
        replacing(path) as temporary,
        # Parameters hardly become smaller.
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        archive.writestr("program", program)
        archive.writestr("card.json", json.dumps(card, indent=1))
    return path


def _program(
    predictor: Predictor, sizes: any_size.Sizes, platforms: Sequence[str]
) -> bytes:
    """Return the program of a model, as jax.export writes it."""
    feature_params = predictor.feature_stage.params
    params = {name: predictor.params[name] for name in ("readout", "finalizer")}

    def log_density(picture: jax.Array) -> jax.Array:
        return any_size.log_density(
            predictor.model,
            sizes,
            feature_params,
            params,
            predictor.center_biases[-1],
            picture,
            predictor.feature_precision,
        )

    constraints = [
        bound
        for side in ("height", "width")
        for bound in (f"{side} >= {sizes.smallest}", f"{side} <= {sizes.largest}")
    ]
    height, width = export.symbolic_shape("height, width", constraints=constraints)
    picture: Any = jax.ShapeDtypeStruct((height, width, 3), np.float32)
    exported = export.export(jax.jit(log_density), platforms=platforms)(picture)
    return bytes(exported.serialize())
