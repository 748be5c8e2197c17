"""`deepgaze evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from deepgaze_jax.cli.compilation import keep_compiled_programs
from deepgaze_jax.cli.messages import Bar, UsageError, say
from deepgaze_jax.cli.options import CenterBiasOption, unset
from deepgaze_jax.cli.options import output as output_option
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.home import resolve_dataset
from deepgaze_jax.datasets.opening import read_dataset
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.evaluation.baselines import CrossFit
from deepgaze_jax.evaluation.comparison import (
    ModelScores,
    ScoreSettings,
    forget_parts,
    score_key,
    score_model,
)
from deepgaze_jax.evaluation.model_source import ModelSource, name_of_baseline
from deepgaze_jax.evaluation.opening import (
    name_in_results,
    open_baseline,
    open_sources,
)
from deepgaze_jax.evaluation.predictions import Source
from deepgaze_jax.evaluation.results import (
    Report,
    check_report_names,
    read_finished,
    report,
    write_report,
)
from deepgaze_jax.evaluation.scoring import METRICS
from deepgaze_jax.named_center_bias import load_center_bias

__all__ = ["evaluate"]

_BLUR_PX = 24.0
_TITLES = {
    "ig": "IG",
    "ig_explained": "IG expl.",
    "ll": "LL",
    "auc": "AUC",
    "sauc": "sAUC",
    "nss": "NSS",
    "cc": "CC",
    "kldiv": "KLDiv",
    "sim": "SIM",
}


def evaluate(
    *,
    data: Annotated[str, tyro.conf.arg(metavar="DATA")],
    output: Annotated[Path, output_option("TABLE.csv")],
    model: Annotated[tuple[str, ...], tyro.conf.arg(metavar="M...")] = ("deepgaze2",),
    metrics: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="METRIC...", help_behavior_hint="")
    ] = METRICS,
    fold: Literal["auto", "mixture"] | int = "auto",
    center_bias: CenterBiasOption = None,
    baseline: Annotated[str | None, unset("NAME|FILE")] = None,
    blur_px: Annotated[float | None, unset("PX")] = None,
    blur_dva: Annotated[float | None, unset("DVA")] = None,
    seed: int = 0,
) -> int:
    """Score models on the fixations of a data set.

    Writes one row per image and model and, beside the table, means, bootstrap
    intervals, differences between models and how all of it was computed, as JSON. An
    image that a fold was trained on is never scored by that fold. What is ready is
    kept: the same command goes on where it was interrupted, and models of an earlier
    table are not scored again.

    Args:
        data: Name (NAME:SPLIT of built ones), or folder with images/
            and fixations.csv.
        output: Table to be written, .csv or .parquet.
        model: Any number of: a model's name, a .safetensors file, a training
            run; a folder of .npy log densities; a folder of png, jpg or
            mat saliency maps (made into densities by a nonlinearity, a
            blur and a center bias fitted on other images); uniform,
            center-bias, gold-standard, joint. LABEL=FOLDER sets the
            name in the table.
        metrics: Any of ll, ig, auc, sauc, nss, cc, kldiv, sim; by default all.
        fold: auto (the fold that has not seen the image; the mixture for
            images that are new to all folds), mixture, or the number of
            a fold.
        center_bias: uniform, the name of a data set, or a .npy file, for
            the model and as baseline of the information gain; by
            default the fold's own.
        baseline: of the information gain: own (the model's center bias),
            center-bias (of other images of the data set), uniform, the
            name of a data set or a .npy file; by default own for one
            trained model, center-bias for several models.
        blur_px: Width of the Gaussian of empirical maps, for cc, kldiv and
            sim, in pixels; by default 24.
        blur_dva: The same in degrees, for data that state pixels_per_dva.
        seed: Of the bootstrap.
    """
    check_report_names(output)
    if seed < 0:
        raise UsageError(f"seed is {seed}; expected 0 or more")
    folder = resolve_dataset(data)
    inputs = [Path(folder, name).resolve() for name in ("fixations.csv", "images.csv")]
    if output.resolve() in inputs:
        raise ConfigError(f"{output}: is a table of the data set; choose another name")
    if blur_px is None and blur_dva is None:
        blur_px = _BLUR_PX
    settings = ScoreSettings(tuple(metrics), blur_px, blur_dva)
    keep_compiled_programs()
    if center_bias is not None:
        load_center_bias(center_bias)
    work = output.with_name(f"{output.name}.parts")
    with Bar("image") as bar:
        dataset = read_dataset(data)
        cross_fit = CrossFit(dataset, bar)
        sources = open_sources(
            model, dataset, cross_fit=cross_fit, fold=fold, center_bias=center_bias
        )
        over = _baseline(baseline, center_bias, sources, dataset, cross_fit)
        finished = read_finished(output)
        scores = []
        for source in sources:
            known = finished.get(score_key(source, dataset, settings, over))
            if known is not None and known.name == source.name:
                scores.append(known)
                continue
            scores.append(
                score_model(
                    source,
                    dataset,
                    settings,
                    baseline=over,
                    work=work,
                    progress=bar,
                )
            )
    names = {
        one.name: _baseline_name(over, source, one)
        for one, source in zip(scores, sources, strict=True)
    }
    result = report(scores, dataset, settings, names, seed)
    beside = write_report(output, result)
    forget_parts(work, [one.key for one in scores])
    if work.is_dir():
        say(f"{work} keeps what is ready of another evaluation that has not finished")
    _tell(result, output, beside)
    return 0


def _baseline(
    baseline: str | None,
    center_bias: str | None,
    sources: Sequence[Source],
    dataset: FixationDataset,
    cross_fit: CrossFit,
) -> Source | None:
    """Return what information gain is measured over; None for each model's own."""
    trained = [isinstance(source, ModelSource) for source in sources]
    if baseline is None:
        alone = len(sources) == 1 and all(trained)
        baseline = "own" if alone else center_bias or "center-bias"
    if baseline != "own":
        return open_baseline(baseline, dataset, cross_fit)
    if not all(trained):
        name = sources[trained.index(False)].name
        raise ConfigError(
            f"{name} has no center bias of its own; choose the baseline center-bias or "
            "uniform"
        )
    return None


def _baseline_name(over: Source | None, source: Source, scores: ModelScores) -> str:
    if over is None:
        return name_of_baseline(source.center_bias, scores.scored_by)
    return name_in_results(over)


def _tell(result: Report, output: Path, beside: Path) -> None:
    for scores in result.models:
        if scores.refused:
            whose = "the model" if len(result.models) == 1 else scores.name
            say(
                f"{len(scores.refused)} images were left out, because {whose} was "
                f"trained on them; {beside} names them"
            )
    if len(result.models) == 1:
        _print_one(result)
    else:
        _print_several(result)
    over = {summary["ig_over"] for summary in result.summaries.values()}
    notes = [f"IG over {' or '.join(sorted(over))}", "LL over uniform"]
    print(f"{', '.join(notes)}; {output}, {beside.name}")


def _print_one(result: Report) -> None:
    """Print both averages of one model."""
    (name,) = result.summaries
    summary = result.summaries[name]
    print(
        f"{name} on {result.shared['data']}: {summary['n_images']} images, "
        f"{summary['n_fixations']} fixations"
    )
    print(f"bits (IG, LL)  {'mean over images [95 % interval]':34}mean over fixations")
    for metric, title in _TITLES.items():
        if metric in summary["per_image"]:
            interval = _interval(summary["per_image"][metric])
            fixation = summary["per_fixation"][metric]["mean"]
            print(f"{title:15}{interval:34}{fixation:.3f}")


def _print_several(result: Report) -> None:
    """Print a row for each model: means over images, with the interval of IG."""
    summaries = result.summaries
    metrics = [
        metric
        for metric in _TITLES
        if any(metric in one["per_image"] for one in summaries.values())
    ]
    cells = [["model", *(_TITLES[metric] for metric in metrics)]]
    for name, summary in summaries.items():
        row = [name]
        for metric in metrics:
            value = summary["per_image"].get(metric)
            if value is None:
                row.append("-")
            elif metric == "ig":
                row.append(_interval(value))
            elif metric == "ig_explained":
                row.append(f"{100 * value['mean']:.1f} %")
            else:
                row.append(f"{value['mean']:.3f}")
        cells.append(row)
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    for row in cells:
        first, *rest = (
            text.ljust(width) if k == 0 else text.rjust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]))
    counts = {one["n_images"] for one in summaries.values()}
    images = " to ".join(str(n) for n in sorted({min(counts), max(counts)}))
    print(
        f"{result.shared['data']}, {images} images: means over the fixations of an "
        "image, then over images [95 % interval]"
    )


def _interval(value: dict[str, float]) -> str:
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
