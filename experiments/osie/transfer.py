"""How far the released models, trained on OSIE, go on other pictures and people.

    python experiments/osie/transfer.py --figrim ../shared/data/raw/figrim \
        --salicon ../shared/data/raw/salicon

FIGRIM: 1000x1000 photographs of scenes, eye movements in a memory task; the first time
that a picture was seen, without the first fixation, which is on the cross. SALICON:
640x480 pictures of COCO, mouse movements in the place of eye movements. Of both only
pictures that are there are scored.

Neither says how many pixels a degree had. The rule is that of `predict`: a picture of
unknown scale is taken to have that of the model's own data. What another scale would
have given stands beside it (`--pixels-per-dva`).

Every picture is new to all folds, so the mixture of ten predicts. All is scored twice:
with the models' center bias, which is that of OSIE, and with one of the other pictures
of the data set, ten-fold, which is the baseline of both information gains. Writes
`results/osie_transfer.json`.

Time on 2 cores: 5 minutes, with nothing cached. Memory: 2 GB.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _osie import RESULTS, spread

from deepgaze_jax.datasets import readers
from deepgaze_jax.datasets.cleaning import CleaningOptions, clean
from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.datasets.validation import validate
from deepgaze_jax.datasets.writing import write_recording
from deepgaze_jax.evaluation.baselines import CrossFit
from deepgaze_jax.files import write_text
from deepgaze_jax.metrics import auc, log_likelihood
from deepgaze_jax.prediction import load_pretrained

MODELS = ("deepgaze2-osie", "deepgaze2-osie-paper", "deepgaze1-osie", "icf-osie")
SOURCES: dict[str, tuple[dict[str, Any], CleaningOptions]] = {
    "figrim": ({"presentations": ("enc",)}, CleaningOptions(first_fixation="drop")),
    "salicon": ({}, CleaningOptions()),
}


def read_source(name: str, source: str, work: Path) -> FixationDataset:
    """Return the pictures of a source that are there, with the fixations on them."""
    options, cleaning = SOURCES[name]
    recording = clean(readers.read(name, source, **options), cleaning)
    accepted = ("images_missing", "images_unreadable")
    report = validate(recording, accepted)
    if report.problems:
        raise SystemExit(f"{name}: {report.problems}")
    write_recording(recording, work, name, report, False)
    dataset = read_folder(work / name, allow_missing_images=True)
    there = [k for k in range(len(dataset)) if dataset.image_path(k).is_file()]
    return dataset.select(there)


def scores(
    dataset: FixationDataset, models: Sequence[str], pixels_per_dva: float | None
) -> dict[str, dict[str, np.ndarray]]:
    """Return the scores of every model on every image, bits per fixation.

    Args:
        dataset: pictures and fixations.
        models: names or files.
        pixels_per_dva: of the pictures; None where it is not known.
    """
    cross_fit = CrossFit(dataset)
    predictors = {name: load_pretrained(name) for name in models}
    found: dict[str, dict[str, list[float]]] = {
        name: {"ig": [], "ig_own_center_bias": [], "auc": []} for name in models
    }
    found["center-bias"] = {"ll": [], "auc": []}
    for index in range(len(dataset)):
        picture, own = dataset.image(index), dataset.fixations.of_images(index)
        size = picture.shape[:2]
        bias = cross_fit.center_bias(index)
        baseline = log_likelihood(bias, own.x, own.y).mean()
        found["center-bias"]["ll"].append(baseline)
        found["center-bias"]["auc"].append(auc(bias, own.x, own.y).mean())
        features: dict[Any, Any] = {}
        for name, predictor in predictors.items():
            # Readouts of one network and scale share its features.
            kind = (predictor.card["features_sha256"], predictor.model.taps)
            if kind not in features:
                features[kind] = predictor.features(
                    picture, pixels_per_dva=pixels_per_dva
                )
            for key, center_bias in (("ig_own_center_bias", None), ("ig", bias)):
                density = predictor.log_density_of_features(
                    features[kind],
                    size,
                    center_bias=center_bias,
                    pixels_per_dva=pixels_per_dva,
                )
                ll = log_likelihood(density, own.x, own.y).mean()
                found[name][key].append(ll - baseline)
            found[name]["auc"].append(auc(density, own.x, own.y).mean())
        print(dataset.name, pixels_per_dva, index + 1, len(dataset), flush=True)
    return {
        name: {key: np.array(values) for key, values in own.items()}
        for name, own in found.items()
    }


def summary(found: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Return means and intervals, and how much better the first model is, paired."""
    models = {
        name: {key: spread(values) for key, values in own.items()}
        for name, own in found.items()
    }
    first, *others = (name for name, own in found.items() if "ig" in own)
    return {
        "models": models,
        f"{first} minus": {
            other: spread(found[first]["ig"] - found[other]["ig"]) for other in others
        },
    }


def main() -> None:
    """Score all models on both sources and write the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figrim", required=True)
    parser.add_argument("--salicon", required=True)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--pixels-per-dva", type=float, default=35.0)
    parser.add_argument("-o", "--output", default=RESULTS / "osie_transfer.json")
    arguments = parser.parse_args()
    results = {}
    for name in SOURCES:
        with tempfile.TemporaryDirectory() as work:
            dataset = read_source(name, getattr(arguments, name), Path(work))
            results[name] = {
                "n_images": len(dataset),
                "n_fixations": len(dataset.fixations),
                "n_subjects": len(np.unique(dataset.fixations.subject)),
                "by_pixels_per_dva": {
                    "unknown" if scale is None else f"{scale:g}": summary(
                        scores(dataset, arguments.models, scale)
                    )
                    for scale in (None, arguments.pixels_per_dva)
                },
            }
    write_text(Path(arguments.output), json.dumps(results, indent=2) + "\n")
    for name, one in results.items():
        print(name, json.dumps(one["by_pixels_per_dva"], indent=1))


if __name__ == "__main__":
    main()
