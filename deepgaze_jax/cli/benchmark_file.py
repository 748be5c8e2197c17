"""`deepgaze benchmark-file`."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

import deepgaze_jax
from deepgaze_jax.cli.compilation import keep_compiled_programs
from deepgaze_jax.cli.messages import Bar, UsageError, complain
from deepgaze_jax.cli.options import CenterBiasOption, Pictures, unset
from deepgaze_jax.cli.options import output as output_option
from deepgaze_jax.datasets.pictures import picture_names
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.evaluation.submission import (
    Parts,
    equalised_map,
    stimulus_names,
    write_jpeg,
    write_submission,
)
from deepgaze_jax.images import load_image, rgb_sha256
from deepgaze_jax.named_center_bias import load_center_bias
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.predictor import Predictor

__all__ = ["benchmark_file"]

_Model = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(metavar="MODEL", help_behavior_hint="(required)"),
]


def benchmark_file(
    model: _Model,
    images: Pictures,
    /,
    output: Annotated[Path, output_option("FILE.h5")],
    jpeg: Annotated[Path | None, unset("DIR")] = None,
    center_bias: CenterBiasOption = None,
    pixels_per_dva: Annotated[float | None, unset("X")] = None,
    fold: Literal["mixture", "auto"] | int = "mixture",
) -> int:
    """Predict the images of a benchmark and write the file that its site takes.

    The HDF5 file has one dataset for each image, named like the image file (with the
    folders that tell images apart, as in CAT2000: Action/001.jpg), of exactly its size:
    the natural-log density in float32, log-sum-exp within 0.001, compressed by gzip.
    It is checked when it is written and when it is read back; a run that was
    interrupted goes on. MIT300 has 300 images, the images of CAT2000 have 1920x1080
    pixels; if you know the pixels per degree at which people saw them, say so.

    Args:
        model: Name, .safetensors file or training run.
        images: Picture files, or folders of them.
        output: File to be written.
        jpeg: Folder for histogram-equalised 8-bit JPEG maps, too, as older
            sites want them.
        center_bias: uniform, the name of a data set, or a .npy file; by
            default the model's own.
        pixels_per_dva: Pixels per degree of visual angle, as people see
            the pictures; by default that of the pictures that the model
            was trained on.
        fold: mixture of all folds, auto (the fold that has not seen the
            picture), or the number of a fold.
    """
    if output.suffix.lower() not in (".h5", ".hdf5"):
        raise ConfigError(f"{output}: a benchmark file is HDF5; end its name in .h5")
    pictures = _expanded(images)
    names = stimulus_names(pictures)
    maps = _jpeg_targets(jpeg, names, pictures)
    keep_compiled_programs()
    predictor = load_pretrained(model)
    # What would fail for every picture fails here, once.
    predictor.feature_stage.prepare()
    predictor.image_scale(pixels_per_dva)
    options = {"center_bias": center_bias, "pixels_per_dva": pixels_per_dva}
    settings = {
        **options,
        "fold": fold,
        "model": predictor.sha256,
        "version": deepgaze_jax.__version__,
    }
    if center_bias is not None:
        bias = np.ascontiguousarray(load_center_bias(center_bias))
        settings["center_bias"] = hashlib.sha256(bias.tobytes()).hexdigest()

    parts = Parts(output.with_name(f"{output.name}.parts"))
    sizes: dict[str, tuple[int, int]] = {}
    with Bar("image", "predicting") as bar:
        for done, (name, path) in enumerate(zip(names, pictures, strict=True)):
            bar(done, len(names))
            try:
                picture = load_image(path)
                sizes[name] = picture.shape[:2]
                log_density = _density(
                    predictor, parts, name, picture, settings, options
                )
                if maps:
                    write_jpeg(maps[name], equalised_map(log_density))
            except (InputError, MemoryError, jax.errors.JaxRuntimeError) as error:
                sizes.pop(name, None)
                line = " ".join(str(error).split()) or type(error).__name__
                complain(line if str(path) in line else f"{path}: {line}")
        bar(len(names), len(names))
    if len(sizes) < len(names):
        complain(
            f"{len(names) - len(sizes)} of {len(names)} pictures failed, so {output} "
            "was not written; what is ready is kept for the next run"
        )
        return 1
    write_submission(output, parts, sizes)
    parts.remove()
    size = output.stat().st_size / 1e6
    also = f"; {len(maps)} JPEG maps in {jpeg}" if maps else ""
    print(f"{output}: {len(names)} densities, {size:.1f} MB, read back and right{also}")
    return 0


def _expanded(images: Sequence[Path]) -> list[Path]:
    """Return picture files, those of folders included, in a stable order."""
    pictures: list[Path] = []
    for image in images:
        if image.is_dir():
            inside = [image / name for name in picture_names(image)]
            if not inside:
                raise InputError(f"{image}: holds no pictures")
            pictures += inside
        else:
            pictures.append(image)
    if not pictures:
        raise UsageError("no picture is named; give files or folders")
    return pictures


def _jpeg_targets(
    folder: Path | None, names: Sequence[str], pictures: Sequence[Path]
) -> dict[str, Path]:
    """Return where the JPEG map of each stimulus goes; empty if none is wanted."""
    if folder is None:
        return {}
    targets = {name: (folder / name).with_suffix(".jpg") for name in names}
    inputs = {os.path.realpath(picture).casefold() for picture in pictures}
    taken: dict[str, str] = {}
    for name, target in targets.items():
        where = os.path.realpath(target).casefold()
        if where in inputs:
            raise InputError(f"{target}: is an input; choose another folder for maps")
        if where in taken:
            raise InputError(
                f"the maps of {taken[where]} and {name} would both be {target}; "
                "export them into different folders"
            )
        taken[where] = name
    return targets


def _density(
    predictor: Predictor,
    parts: Parts,
    name: str,
    picture: np.ndarray,
    settings: dict[str, Any],
    options: dict[str, Any],
) -> np.ndarray:
    """Return the log density of a picture, predicted unless a part is there."""
    made_of = {**settings, "image": rgb_sha256(picture)}
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    ready = parts.read(name, key)
    if ready is not None:
        return ready
    log_density = predictor.predict(picture, fold=settings["fold"], **options)
    parts.write(name, log_density, picture.shape[:2], key)
    return log_density
