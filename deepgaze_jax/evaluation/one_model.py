"""Scores of one trained model on a data set: the short way from Python."""

from collections.abc import Callable

from deepgaze_jax.datasets.features import FeatureCache
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.evaluation.comparison import ScoreSettings, score_model
from deepgaze_jax.evaluation.model_source import ModelSource, name_of_baseline
from deepgaze_jax.evaluation.results import Report, report
from deepgaze_jax.predictor import CenterBias, FoldRule, Predictor

__all__ = ["evaluate"]

#: What training maximises, and what is reported of it; the rest takes longer.
_LIKELIHOODS = ScoreSettings(("ll", "ig"))


def evaluate(
    predictor: Predictor,
    dataset: FixationDataset,
    *,
    settings: ScoreSettings = _LIKELIHOODS,
    fold: FoldRule = "auto",
    center_bias: CenterBias | None = None,
    cache: FeatureCache | None = None,
    name: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Returns the score of each image, and their means and intervals.

    An image is only scored by parameters that it took no part in making; it is
    recognised by its pixels, not by its name. Images that the wanted fold has seen are
    left out, counted and named. Information gain is over the model's center bias.

    Args:
        predictor: the model.
        dataset: images and fixations. Its `pixels_per_dva`, where stated, are used,
            unless the model's card does not know its own.
        settings: metrics and blur; log-likelihood and information gain if left out.
        fold: "auto": the fold that has not seen the image, or the mixture for an image
            that no fold has seen; "mixture"; or one fold by its number.
        center_bias: for the model, and the baseline of the information gain; by
            default that of the fold, or the pooled one for the mixture.
        cache: features of the data set, from `find_cache`; computed where left out.
        name: what the results call the model; by default its own name.
        progress: called with images done, images in all, and what is done.

    Raises:
        DataError: the model has seen all images, or none has fixations.
        InputError: see `Predictor.predict`.
        ConfigError: no such fold or center bias.

    Example:
        >>> result = evaluate(  # doctest: +SKIP
        ...     load_pretrained("deepgaze2"), read_folder("osie")
        ... )
        >>> result.as_json()["per_image"]["ig"]["mean"]  # doctest: +SKIP
        1.9195328124217077
        >>> write_report("scores.csv", result)  # doctest: +SKIP
        PosixPath('scores.json')
    """
    source = ModelSource(
        predictor, dataset, fold=fold, center_bias=center_bias, cache=cache, name=name
    )
    scores = score_model(source, dataset, settings, progress=progress)
    baseline = name_of_baseline(source.center_bias, scores.scored_by)
    return report([scores], dataset, settings, {scores.name: baseline})
