"""`deepgaze figures`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from deepgaze_jax.cli.compilation import keep_compiled_programs
from deepgaze_jax.cli.messages import Bar, UsageError, say
from deepgaze_jax.cli.options import output as output_option
from deepgaze_jax.cli.options import unset
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.opening import read_dataset
from deepgaze_jax.errors import DataError
from deepgaze_jax.evaluation.baselines import CrossFit
from deepgaze_jax.evaluation.comparison import data_sha256
from deepgaze_jax.evaluation.opening import baseline_of_results, open_sources
from deepgaze_jax.evaluation.predictions import Source
from deepgaze_jax.figures.charts import (
    draw_bars,
    gold_against_models,
    model_bars,
    read_ablation,
)
from deepgaze_jax.figures.examples import (
    Example,
    draw_examples,
    draw_gains,
    extreme_differences,
    extreme_images,
)
from deepgaze_jax.figures.score_tables import GOLD, Scores, read_scores
from deepgaze_jax.figures.style import save_figure, style
from deepgaze_jax.gold_standard import GoldStandard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figures"]

_Tables = Annotated[
    tuple[Path, ...],
    tyro.conf.Positional,
    tyro.conf.arg(metavar="TABLE...", help_behavior_hint="(required)"),
]
_Words = tyro.conf.arg(metavar="NAME...", help_behavior_hint="")


def figures(
    tables: _Tables,
    /,
    output: Annotated[Path, output_option("DIR")],
    data: Annotated[str | None, unset("DATA")] = None,
    models: Annotated[tuple[str, ...], _Words] = (),
    model: Annotated[str | None, unset("NAME")] = None,
    against: Annotated[str | None, unset("NAME")] = None,
    ablation: Annotated[Path | None, unset("FILE.csv")] = None,
    labels: Annotated[tuple[str, ...], _Words] = (),
    n_images: int = 3,
    seed: int = 0,
) -> int:
    """Draw the figures of a paper from tables of scores.

    Each figure is a PDF (vectors, fonts embedded) and a PNG, sized for print and
    readable in black and white. From the tables alone: ig_explained and
    gold_against_models. With --data also best_images, worst_images, largest_gains,
    largest_losses and gains_per_pixel.

    Args:
        tables: From deepgaze evaluate, with the JSON beside each.
        output: Folder for the figures.
        data: Name or folder of the data set, for figures with images.
        models: For figures with images: what the tables' models are, as for
            deepgaze evaluate; needed for folders (LABEL=FOLDER), found
            by name else.
        model: Whose best and worst images are shown; by default the model
            with the highest information gain.
        against: Model that it is compared with; by default the next best.
        ablation: Table with the columns label, ig_explained or ig, and
            perhaps low and high, for a figure of its bars.
        labels: Names for print: NAME=TEXT.
        n_images: Images in each figure.
        seed: Of the drawn fixations.
    """
    if not tables:
        raise UsageError("no table is named; give one or more from deepgaze evaluate")
    if n_images < 1:
        raise UsageError(f"n-images is {n_images}; expected at least 1")
    if seed < 0:
        raise UsageError(f"seed is {seed}; expected 0 or more")
    printed = _labels(labels)
    scores = read_scores(tables)
    _check_known(printed, scores)
    drawn: list[Path] = []

    def keep(figure: "Figure", stem: str) -> None:
        drawn.extend(save_figure(figure, output, stem))

    with style():
        keep(model_bars(scores, printed), "ig_explained")
        if scores.has_gold:
            keep(gold_against_models(scores, printed), "gold_against_models")
        if ablation is not None:
            keep(draw_bars(*read_ablation(ablation)), "ablation")
        if data is not None:
            keep_compiled_programs()
            for stem, figure in _with_images(
                scores, data, models, model, against, printed, n_images, seed
            ):
                keep(figure, stem)
    print(f"{len(drawn) // 2} figures as PDF and PNG in {output}:")
    print(", ".join(path.stem for path in drawn[::2]))
    print(f"information gain over {scores.baseline}")
    return 0


def _labels(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, pair in zip(texts, pairs, strict=True) if not pair[1]]
    if wrong:
        raise UsageError(f"label {wrong[0]!r} is not of the form NAME=TEXT")
    return {name: text for name, _, text in pairs}


def _specified(texts: Sequence[str], scores: Scores) -> dict[str, str]:
    """Return the tables' names of models, each with what it is."""
    named = {}
    for text in texts:
        label, equals, _ = text.partition("=")
        if not equals and text not in scores.ig:
            # As `evaluate` names a folder that has no label.
            label = Path(text).resolve().name
        named[label] = text
    _check_known(named, scores)
    return named


def _check_known(names: Iterable[str], scores: Scores) -> None:
    for name in names:
        if name not in scores.ig:
            raise UsageError(
                f"the tables have no model {name!r}; they have {', '.join(scores.ig)}"
            )


def _with_images(
    scores: Scores,
    data: str,
    specified: Sequence[str],
    model: str | None,
    against: str | None,
    labels: dict[str, str],
    n_images: int,
    seed: int,
) -> list[tuple[str, "Figure"]]:
    """Return the figures that show images, each with the stem of its files."""
    named = _specified(specified, scores)
    dataset = read_dataset(data)
    if scores.data_sha256 and data_sha256(dataset) != scores.data_sha256:
        raise DataError(
            f"{data}: is not the data set that the tables are about (other images or "
            "fixations); give that one"
        )
    ranked = scores.models
    if not ranked:
        raise DataError("the tables have only references; add a model")
    model = model or ranked[0]
    others = [name for name in ranked if name != model]
    against = against or (others[0] if others else None)
    shown = [GOLD] if scores.has_gold else []
    shown += [model, *others[:2]]
    if against is not None and against not in shown:
        shown[-1] = against
    plan = dict(
        zip(
            ("best_images", "worst_images"),
            extreme_images(scores, model, n_images),
            strict=True,
        )
    )
    if against is not None:
        gains, losses = extreme_differences(scores, model, against, n_images)
        plan |= {"largest_gains": gains, "largest_losses": losses}
    with Bar("image", "predicting") as bar:
        maker = _Maker(scores, dataset, shown, named, bar)
        wanted = {name for names in plan.values() for name in names}
        examples = {}
        for done, name in enumerate(sorted(wanted)):
            bar(done, len(wanted), "predicting")
            examples[name] = maker.example(name)
        bar(len(wanted), len(wanted), "predicting")
    made = []
    for stem, names in plan.items():
        columns = shown
        if stem.startswith("largest"):
            columns = [name for name in shown if name in (GOLD, model, against)]
        chosen = [_with_columns(examples[name], columns) for name in names]
        made.append((stem, draw_examples(chosen, labels, seed)))
    if scores.has_gold:
        chosen = [examples[name] for name in plan["best_images"]]
        made.append(("gains_per_pixel", draw_gains(chosen, labels)))
    for stem, names in plan.items():
        # What is called a loss may be the smallest of gains: say how much it is.
        other = against if stem.startswith("largest") else GOLD
        say(f"{stem}: {', '.join(_named(scores, model, other, one) for one in names)}")
    return made


def _named(scores: Scores, model: str, other: str | None, image: str) -> str:
    """Return an image with the gain of a model, less that of another if it has one."""
    gain = scores.ig[model][image]
    if other in scores.ig:
        return f"{image} ({gain - scores.ig[other][image]:+.2f} bit to {other})"
    return f"{image} ({gain:.2f} bit)"


class _Maker:
    """Predicts the images of figures with the models of the tables."""

    def __init__(
        self,
        scores: Scores,
        dataset: FixationDataset,
        shown: Sequence[str],
        named: Mapping[str, str],
        bar: Bar,
    ) -> None:
        self._scores, self._dataset, self._shown = scores, dataset, shown
        self._cross_fit = CrossFit(dataset, bar)
        parameters = scores.cards.get(GOLD, {}).get("parameters")
        if parameters and len(parameters) == len(self._cross_fit.folds):
            # Fitted once, for the table; that takes minutes.
            fitted = tuple(GoldStandard(**one) for one in parameters)
            self._cross_fit.gold_standards = fitted
        names = [named.get(name, name) for name in shown]
        sources = open_sources(names, dataset, cross_fit=self._cross_fit)
        self._sources: dict[str, Source] = dict(zip(shown, sources, strict=True))
        self._baseline: Source | None = None
        if scores.has_gold:
            self._baseline = baseline_of_results(
                scores.baseline, dataset, self._cross_fit
            )

    def example(self, name: str) -> Example:
        """Return an image with the predictions for it."""
        index = self._dataset.image_names.index(name)
        fixations = self._dataset.fixations.of_images(index)
        densities = {}
        for model, source in self._sources.items():
            prediction = source.predict(index)
            if prediction is None:
                raise DataError(f"{model} was trained on {name}; it cannot be shown")
            densities[model] = np.exp(prediction.mean_log_density, dtype=np.float64)
        baseline = None
        if self._baseline is not None:
            log_density = self._baseline.predict(index).parts[0].log_density
            baseline = np.exp(log_density, dtype=np.float64)
        return Example(
            name,
            self._dataset.image(index),
            fixations.x,
            fixations.y,
            densities,
            {model: self._scores.ig[model][name] for model in self._shown},
            baseline,
        )


def _with_columns(example: Example, models: Sequence[str]) -> Example:
    return Example(
        example.name,
        example.image,
        example.x,
        example.y,
        {model: example.densities[model] for model in models},
        example.ig,
        example.baseline,
    )
