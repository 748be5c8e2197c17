"""What pre-training on other photographs is worth, for many own images and for few.

    python experiments/osie/fine_tuning.py --data ../shared/data/osie --runs runs/tuning

Half of OSIE's photographs (a seeded choice) are there for pre-training: nine tenths of
them are trained on (`--folds all`), a tenth says when to stop (`--stop-on`). Of the
other half, all or only the first `--n-images`, ten folds are trained from the start,
and fine-tuned from the pre-trained model: the finalizer and the last layers, or all of
it. Scored on the test parts by the fold that has not seen the image; information gain
over the fold's own center bias, also for the pre-trained model as it is.

Writes `results/osie_fine_tuning.json`. Everything is resumable. Time on 2 cores, with
OSIE's features cached (which the halves copy, 6 GB): the file's `seconds_of_epochs`,
and about a third of that for scoring.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from _osie import RESULTS, read_log, seconds_of

from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.evaluation import evaluate, find_cache
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.summaries import bootstrap_interval, paired_interval
from deepgaze_jax.training import TrainConfig, train


def likelihoods(model: Path, dataset: FixationDataset) -> tuple[np.ndarray, np.ndarray]:
    """Return LL and IG of each image, bits per fixation, [n_images] each."""
    predictor = load_pretrained(model)
    result = evaluate(predictor, dataset, cache=find_cache(predictor, dataset))
    rows = result.models[0].rows
    assert [row.image for row in rows] == list(dataset.image_names)
    table = np.array([[row.scores["ll"], row.scores["ig"]] for row in rows])
    return table[:, 0], table[:, 1]


def mean(values: np.ndarray) -> dict[str, object]:
    """Return a mean over images with its interval."""
    return {"mean": float(values.mean()), "interval": bootstrap_interval(values)}


def main() -> None:
    """Train what is missing, score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--n-images", type=int, nargs="*", default=[50, 350])
    parser.add_argument("--pixels-per-dva", type=float, default=24.0)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    whole = read_folder(arguments.data)
    scale = whole.pixels_per_dva is None and arguments.pixels_per_dva
    order = np.random.default_rng(0).permutation(len(whole))
    half = len(order) // 2
    stop = half // 10
    others, own = order[:half], order[half:]
    options = {"pixels_per_dva": scale or None}

    pretrained = train(
        whole.select(others[stop:]),
        TrainConfig(folds="all", **options),
        arguments.runs / "pretrained",
        stop_on=whole.select(others[:stop]),
        resume=True,
    )
    result: dict[str, object] = {
        "data": whole.name,
        "unit": "bits per fixation; information gain over the fold's center bias, "
        "mean per image, 95 % interval",
        "pretraining": {"n_images": half - stop, "n_images_stop_on": stop},
        "fine_tuning": [],
    }
    for n_images in arguments.n_images:
        dataset = whole.select(own[:n_images])
        variants = {
            "from the start": (TrainConfig(**options), None),
            "fine-tuned, last layers": (TrainConfig(**options), pretrained),
            "fine-tuned, all": (TrainConfig(what="all", **options), pretrained),
        }
        gains = {}
        for name, (config, start) in variants.items():
            run = arguments.runs / f"{len(dataset)}-{name}".replace(",", "")
            run = run.with_name(run.name.replace(" ", "_"))
            model = train(dataset, config, run, start_from=start, resume=True)
            log_likelihood, gains[name] = likelihoods(model, dataset)
            # Of the same folds in all runs.
            center_bias = log_likelihood - gains[name]
        gains["pre-trained, as it is"] = (
            likelihoods(pretrained, dataset)[0] - center_bias
        )
        first = gains["from the start"]
        entry = {
            "n_images": len(dataset),
            "information_gain": {name: mean(gain) for name, gain in gains.items()},
            "more_than_from_the_start": {
                name: {
                    "mean": float((gain - first).mean()),
                    "interval": paired_interval(gain, first),
                }
                for name, gain in gains.items()
                if gain is not first
            },
        }
        print(json.dumps(entry, indent=1))
        result["fine_tuning"].append(entry)
    logs = map(read_log, arguments.runs.iterdir())
    result["seconds_of_epochs"] = round(sum(map(seconds_of, logs)))
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "osie_fine_tuning.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
