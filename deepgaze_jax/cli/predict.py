"""`deepgaze predict` and `deepgaze demo`."""

import collections
import dataclasses
import json as json_format
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from deepgaze_jax.cli.compilation import compiled, keep_compiled_programs
from deepgaze_jax.cli.messages import Bar, UsageError, complain, say
from deepgaze_jax.cli.options import CenterBiasOption, Pictures, unset
from deepgaze_jax.cli.options import output as output_option
from deepgaze_jax.errors import InputError
from deepgaze_jax.files import make_folder, replacing
from deepgaze_jax.images import as_bytes, load_image
from deepgaze_jax.memory import bytes_of
from deepgaze_jax.named_center_bias import load_center_bias
from deepgaze_jax.ops import FeaturePrecision
from deepgaze_jax.plotting import overlay, write_png
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.predictor import FoldRule, Predictor
from deepgaze_jax.weights import REGISTRY, cached_path, fetch

__all__ = ["Target", "demo", "plan_targets", "predict"]

_Folder = Annotated[Path, output_option("DIR")]
_Model = Annotated[str, tyro.conf.arg(metavar="MODEL")]


def predict(
    images: Pictures,
    /,
    output: _Folder,
    model: _Model = "deepgaze2",
    center_bias: CenterBiasOption = None,
    pixels_per_dva: Annotated[float | None, unset("X")] = None,
    fold: Literal["mixture", "auto"] | int = "mixture",
    features: Annotated[Path | None, unset("FILE")] = None,
    feature_precision: FeaturePrecision = "float32",
    max_memory: Annotated[str | None, unset("2GB")] = None,
    json: bool = False,
) -> int:
    """Predict where people look in pictures.

    For every picture, STEM_log_density.npy holds the natural logarithm of the
    probability that a fixation falls on each pixel (float32, [height, width]), and
    STEM_overlay.png shows it over the picture, with lines that split the expected
    fixations into four equal parts.

    Where two pictures have the same STEM, their full names stand in its place.

    Args:
        images: Picture files of any kind and size.
        output: Folder for the results.
        model: Name, .safetensors file or training run.
        center_bias: uniform, the name of a data set, or a .npy file with
            a log density of the picture's size; by default the model's
            own.
        pixels_per_dva: Pixels per degree of visual angle, as people see
            the pictures; by default that of the pictures that the model
            was trained on.
        fold: mixture of all folds, auto (the fold that has not seen the
            picture), or the number of a fold.
        features: Feature weights of your own, from deepgaze weights convert;
            by default those that were fetched.
        feature_precision: In what the feature network multiplies; the others
            are for accelerators.
        max_memory: What the whole command may take, such as 2GB or 800MB; by
            default what there is. With less, large pictures go through
            VGG-19 in lower bands of rows (on a CPU).
        json: Print one JSON object per picture.
    """
    if not images:
        raise UsageError("no picture is named; give one or more files")
    keep_compiled_programs()
    predictor = load_pretrained(
        model, features=features, feature_precision=feature_precision
    )
    # What would fail for every picture fails here, once.
    predictor.feature_stage.prepare()
    predictor.image_scale(pixels_per_dva)
    if center_bias is not None:
        load_center_bias(center_bias)
    make_folder(output)
    limit = None if max_memory is None else bytes_of(max_memory)
    settings = _Settings(center_bias, pixels_per_dva, fold, limit)
    # One file named twice is one picture.
    named: dict[Path, Path] = {}
    for image in images:
        named.setdefault(_lies_at(image), image)
    images = tuple(named.values())
    n_failed = 0
    for target in plan_targets(images, output):
        try:
            done = _predict_one(predictor, target, settings)
        except (InputError, OSError, MemoryError, jax.errors.JaxRuntimeError) as error:
            n_failed += 1
            line = " ".join(str(error).split()) or type(error).__name__
            name = str(target.image)
            line = line if name in line else f"{name}: {line}"
            complain(line)
            if json:
                print(json_format.dumps({"image": name, "error": line}), flush=True)
            continue
        if json:
            print(json_format.dumps(done), flush=True)
        else:
            print(
                f"{target.image}: {target.log_density}, {target.overlay.name}",
                flush=True,
            )
    if n_failed:
        complain(f"{n_failed} of {len(images)} pictures failed")
    return 1 if n_failed else 0


def demo(output: _Folder = Path("deepgaze-demo"), model: _Model = "deepgaze2") -> int:
    """Predict on a sample photograph, and fetch what that needs.

    Args:
        output: Folder for the results.
        model: Name, .safetensors file or training run.
    """
    import matplotlib

    keep_compiled_programs()
    predictor = load_pretrained(model)
    network = predictor.model.network
    if (
        predictor.stored_features is None
        and network in REGISTRY
        and cached_path(network) is None
    ):
        say(f"fetching the weights of {network}, once")
        with Bar("B") as bar:
            fetch(network, progress=bar)
    image = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    make_folder(output)
    (target,) = plan_targets([image], output)
    _predict_one(predictor, target, _Settings())
    print(f"{target.overlay}\n{target.log_density}")
    print(
        "The picture shows where people look in this photograph: a quarter of all "
        "fixations is\nexpected inside the innermost lines, half inside the next, "
        "three quarters inside the outer.\nThe array holds the natural logarithm of "
        "the probability of each pixel; np.exp of it sums to one."
    )
    return 0


@dataclasses.dataclass(frozen=True)
class Target:
    """A picture and the files that are made of it.

    Attributes:
        image: the picture.
        log_density: the array.
        overlay: the drawing.
        problem: why they cannot be written, else empty.
    """

    image: Path
    log_density: Path
    overlay: Path
    problem: str = ""


def plan_targets(images: Sequence[Path], output: Path) -> list[Target]:
    """Return where the results of each picture go, before anything is computed.

    Files are named by the stem of the picture, or by its full name where two pictures
    would share a file. An input is never overwritten.

    Args:
        images: pictures.
        output: folder for the results.

    Example:
        >>> pictures = [Path("a.jpg"), Path("b.jpg"), Path("x/b.png")]
        >>> [target.overlay.name for target in plan_targets(pictures, Path("out"))]
        ['a_overlay.png', 'b.jpg_overlay.png', 'b.png_overlay.png']
    """
    # Some file systems do not tell upper from lower case.
    stems = collections.Counter(image.stem.casefold() for image in images)
    full = {
        image.name.casefold() for image in images if stems[image.stem.casefold()] > 1
    }
    inputs = {_where(image) for image in images}
    taken: dict[str, Path] = {}
    targets = []
    for image in images:
        shared = stems[image.stem.casefold()] > 1 or image.stem.casefold() in full
        stem = image.name if shared else image.stem
        log_density = output / f"{stem}_log_density.npy"
        drawing = output / f"{stem}_overlay.png"
        problem = ""
        if stem.casefold() in taken:
            problem = (
                f"its results would overwrite those of {taken[stem.casefold()]}; "
                "predict it into another folder"
            )
        elif {_where(log_density), _where(drawing)} & inputs:
            problem = "its results would overwrite an input; choose another folder"
        taken.setdefault(stem.casefold(), image)
        targets.append(Target(image, log_density, drawing, problem))
    return targets


def _lies_at(path: Path) -> Path:
    """Return a path by which the same file has one name, links apart."""
    return Path(os.path.realpath(path.parent), path.name)


def _where(path: Path) -> str:
    return os.path.realpath(path).casefold()


@dataclasses.dataclass(frozen=True)
class _Settings:
    """Options that all pictures share."""

    center_bias: str | None = None
    pixels_per_dva: float | None = None
    fold: FoldRule = "mixture"
    max_memory: int | None = None


def _predict_one(
    predictor: Predictor, target: Target, settings: _Settings
) -> dict[str, Any]:
    """Write the two files of a picture; returns what to say about it."""
    if target.problem:
        raise InputError(f"{target.image}: {target.problem}")
    before = compiled()
    picture = load_image(target.image)
    size = picture.shape[:2]
    # A quarter of the memory. Drawn as bytes in any case: a picture that is nearly
    # black is no picture scaled to 0..1.
    rounded, same = as_bytes(picture)
    picture = rounded if same else picture
    fold = predictor.fold_for(picture, settings.fold)
    limits = (settings.pixels_per_dva, settings.max_memory)
    plan = predictor.plan(size, *limits)
    if plan is not None and (plan.lowered or settings.max_memory is not None):
        say(
            f"{target.image}: in {plan.n_bands} bands of {plan.band} rows, about "
            f"{plan.n_bytes / 1e9:.2f} GB of memory"
        )
    log_density = predictor.predict_picture(
        picture,
        center_bias=settings.center_bias,
        pixels_per_dva=settings.pixels_per_dva,
        fold=fold,
        max_memory=settings.max_memory,
    )
    drawing = overlay(rounded, log_density)
    with replacing(target.log_density) as temporary, temporary.open("wb") as file:
        np.save(file, log_density)
    write_png(target.overlay, drawing)
    own = "pooled" if fold == "mixture" else f"fold {fold}"
    return {
        "image": str(target.image),
        "log_density": str(target.log_density),
        "overlay": str(target.overlay),
        "height": size[0],
        "width": size[1],
        "model": predictor.name,
        "fold": fold,
        "center_bias": settings.center_bias or own,
        "pixels_per_dva": settings.pixels_per_dva
        or predictor.card.get("pixels_per_dva"),
        "programs_compiled": compiled() - before,
        "bands": 1 if plan is None else plan.n_bands,
        "memory_bytes": None if plan is None else plan.n_bytes,
    }
