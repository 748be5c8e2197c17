"""`deepgaze predict` and `deepgaze demo`."""

import contextlib
import json as json_format
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from deepgaze_jax.cli.compilation import compiled, keep_compiled_programs
from deepgaze_jax.cli.messages import (
    Bar,
    UsageError,
    complain,
    say,
    tell,
    without_threads,
)
from deepgaze_jax.cli.options import CenterBiasOption, Pictures, unset
from deepgaze_jax.cli.options import output as output_option
from deepgaze_jax.errors import InputError
from deepgaze_jax.many_images.cluster import Cluster, predict_on_cluster
from deepgaze_jax.many_images.results import Results
from deepgaze_jax.many_images.run import (
    committed,
    open_results,
    targets_of,
    unfinished,
)
from deepgaze_jax.many_images.settings import Kinds, Settings
from deepgaze_jax.many_images.stream import Outcome, predict_pictures
from deepgaze_jax.many_images.targets import Target, plan_targets
from deepgaze_jax.memory import bytes_of
from deepgaze_jax.model_cards import own_center_bias
from deepgaze_jax.named_center_bias import load_center_bias
from deepgaze_jax.ops import FeaturePrecision
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.predictor import Predictor
from deepgaze_jax.weights import REGISTRY, cached_path, fetch

__all__ = ["demo", "plan_targets", "predict"]

_Folder = Annotated[Path, output_option("DIR")]
_Model = Annotated[str, tyro.conf.arg(metavar="MODEL")]
_GO_ON = "go on with the same command and --resume"


def predict(
    images: Pictures,
    /,
    output: _Folder,
    model: _Model = "deepgaze2",
    center_bias: CenterBiasOption = None,
    pixels_per_dva: Annotated[float | None, unset("X")] = None,
    fold: Literal["mixture", "auto"] | int = "mixture",
    features: Annotated[Path | None, unset("FILE")] = None,
    files: Literal["both", "npy", "png", "h5"] = "both",
    float16: bool = False,
    resume: bool = False,
    feature_precision: FeaturePrecision = "float32",
    max_memory: Annotated[str | None, unset("2GB")] = None,
    json: bool = False,
    ray: Annotated[str | None, unset("ADDRESS")] = None,
    workers: Annotated[int | None, unset("N")] = None,
) -> int:
    """Predict where people look in pictures.

    For every picture, STEM_log_density.npy holds the natural logarithm of the
    probability that a fixation falls on each pixel (float32, [height, width]), and
    STEM_overlay.png shows it over the picture, with lines that split the expected
    fixations into four equal parts.

    Where two pictures have the same STEM, their full names stand in its place.

    Args:
        images: Picture files of any kind and size; folders, which mean all
            pictures below them; quoted patterns such as 'photos/**/*.jpg';
            .txt lists with one path a line. Results keep the folders.
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
        files: Log densities (npy), overlays (png), both, or all log densities
            in one compressed file, log_densities.h5, under the names of the
            pictures.
        float16: Store log densities with half the bytes, rounded to 0.004.
        resume: Leave out the pictures of a folder, pattern or list that an
            earlier run with the same settings has finished.
        feature_precision: In what the feature network multiplies; the others
            are for accelerators.
        max_memory: What the whole command may take, such as 2GB or 800MB; by
            default what there is. With less, large pictures go through
            VGG-19 in lower bands of rows (on a CPU), one after another.
        json: Print one JSON object per picture.
        ray: Deal the pictures over the processes of the Ray cluster at this
            address, or of one on this machine: local. All machines must
            see the same folders.
        workers: Processes of the cluster; by default one per GPU, or per
            machine where there is none.
    """
    if workers is not None and (ray is None or workers < 1):
        raise UsageError("--workers is a number of processes for --ray; give both")
    if max_memory is not None and ray is not None:
        raise UsageError("--max-memory is for this machine; leave it out with --ray")
    if not images:
        raise UsageError("no picture is named; give one or more files")
    limit = None if max_memory is None else bytes_of(max_memory)
    keep_compiled_programs()
    predictor = load_pretrained(
        model, features=features, feature_precision=feature_precision
    )
    settings = Settings(center_bias, pixels_per_dva, fold, float16)
    _refuse_at_once(predictor, settings)
    targets, searched = targets_of(images, output)
    kinds = Kinds(files in ("both", "npy"), files in ("both", "png"), files == "h5")
    results = open_results(
        output,
        predictor,
        settings,
        kinds,
        features=features,
        resume=resume,
        noted=searched,
    )
    n_all, n_failed = len(targets), 0
    with contextlib.closing(results), without_threads("ray_"), Bar("picture") as bar:
        if resume:
            targets = unfinished(targets, results)
            say(f"{n_all - len(targets)} of {n_all} pictures are ready")
        said = _Said(predictor, settings, results, json, limit is not None)
        if ray is None:
            outcomes = predict_pictures(
                predictor, targets, settings, results.write, max_memory=limit
            )
        else:
            cluster = Cluster(ray, workers)
            outcomes = predict_on_cluster(
                *(predictor, targets, settings, kinds, cluster),
                say=say,
                prepare=keep_compiled_programs,
            )
        try:
            with contextlib.closing(outcomes):
                for done, outcome in enumerate(committed(outcomes, results), start=1):
                    n_failed += bool(outcome.error)
                    said(outcome)
                    if len(targets) > 1:
                        bar(done, len(targets))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*[_GO_ON] * searched) from None
    if n_failed:
        complain(f"{n_failed} of {n_all} pictures failed")
    return 1 if n_failed else 0


def _refuse_at_once(predictor: Predictor, settings: Settings) -> None:
    """Raise what would be wrong with every picture."""
    predictor.feature_stage.prepare()
    predictor.image_scale(settings.pixels_per_dva)
    if isinstance(settings.fold, int):
        predictor.fold_for(np.zeros((1, 1, 3), np.float32), settings.fold)
    if settings.center_bias is not None:
        load_center_bias(settings.center_bias)


class _Said:
    """What is said about each picture."""

    def __init__(
        self,
        predictor: Predictor,
        settings: Settings,
        results: Results,
        json: bool,
        plans: bool = False,
    ) -> None:
        self._predictor = predictor
        self._settings = settings
        self._results = results
        self._json = json
        self._plans = plans

    def __call__(self, outcome: Outcome) -> None:
        """Say it: one line, or one JSON object."""
        name = str(outcome.target.image)
        if outcome.error:
            complain(outcome.error)
        plan = outcome.plan
        if plan is not None and (plan.lowered or self._plans):
            say(
                f"{name}: in {plan.n_bands} bands of {plan.band} rows, about "
                f"{plan.n_bytes / 1e9:.2f} GB of memory"
            )
        if not self._json:
            if not outcome.error:
                tell(f"{name}: {self._files(outcome.target)}")
        elif outcome.error:
            tell(json_format.dumps({"image": name, "error": outcome.error}))
        else:
            tell(json_format.dumps({"image": name, **self._details(outcome)}))

    def _files(self, target: Target) -> str:
        """Return the first file with its folder, and the names of the others."""
        first, *others = self._results.places(target).values()
        return ", ".join([first, *(other.rpartition("/")[2] for other in others)])

    def _details(self, outcome: Outcome) -> dict[str, Any]:
        fold = outcome.fold
        return {
            **self._results.places(outcome.target),
            "height": outcome.size[0],
            "width": outcome.size[1],
            "model": self._predictor.name,
            "fold": outcome.fold,
            "bands": outcome.plan.n_bands if outcome.plan else 1,
            "memory_bytes": outcome.plan.n_bytes if outcome.plan else None,
            "programs_compiled": compiled(),
            "center_bias": self._settings.center_bias or own_center_bias(fold),
            "pixels_per_dva": self._settings.pixels_per_dva
            or self._predictor.card.get("pixels_per_dva"),
        }


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
    targets = plan_targets([image], output)
    settings = Settings()
    results = open_results(output, predictor, settings, Kinds(), noted=False)
    (done,) = committed(
        predict_pictures(predictor, targets, settings, results.write), results
    )
    if done.error:
        raise InputError(done.error)
    print(f"{done.target.overlay}\n{done.target.log_density}")
    print(
        "The picture shows where people look in this photograph: a quarter of all "
        "fixations is\nexpected inside the innermost lines, half inside the next, "
        "three quarters inside the outer.\nThe array holds the natural logarithm of "
        "the probability of each pixel; np.exp of it sums to one."
    )
    return 0
