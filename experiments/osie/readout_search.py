"""Choice of the readout that is released for DeepGaze II, on validation parts only.

    python experiments/osie/readout_search.py --data ../shared/data/osie \
        --runs runs/readouts

Each variant changes the readout or its training, and is trained with one or more seeds
of folds 0, 3 and 6. Each image is scored by the best epochs of the fold that has it in
its validation part: by every seed alone (the mean is shown as `single`), by the mean
density of the first two, three, ... seeds (`mixture`), and by one readout that has them
side by side (`joined`, the geometric mean of the densities, see `joined_seeds.py`).
Seeds of two variants are mixed as well (`PAIRS`). Differences are paired, image by
image, with the readout of the paper as it is released (`REFERENCE`). Test parts are not
looked at.

Finished runs are not repeated and interrupted ones go on; scores stay in the runs, and
variants whose runs are not there keep their lines. Writes
`results/osie_readout_search.csv`, a line for each variant, way and number of seeds.

Time on 2 cores, shared with other programs: the column `seconds` (of the epochs), with
the feature cache that `deepgaze2_paper.py` leaves; another scale or other taps need a
cache of their own, up to 20 minutes. Disk: 5.9 GB a cache. Memory: 7 GB.
"""

import argparse
import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _osie import RESULTS, read_log, seconds_of, write_table

from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.evaluation import find_cache
from deepgaze_jax.files import replacing
from deepgaze_jax.joined_seeds import join_seeds
from deepgaze_jax.metrics import log_likelihood
from deepgaze_jax.model_cards import seeds_of_folds
from deepgaze_jax.model_files import load_model, save_model
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.summaries import bootstrap_interval, paired_interval
from deepgaze_jax.training import TrainConfig, train

#: Numbers of images, and the information gain of each.
Gains = tuple[np.ndarray, np.ndarray]

BASE = TrainConfig(pixels_per_dva=24.0, patience=20)

#: What the others are compared with: one seed, the readout (16, 32, 2, 1).
REFERENCE = "deepgaze2-osie-paper"

#: Where a run keeps the scores of its fixations.
SCORES = "validation_fixations.npz"

_TWO_LAYERS = {"widths": (16, 1), "only_folds": (0, 3, 6)}

#: Fields of the configuration that are not those of `deepgaze2_paper.py`.
VARIANTS: dict[str, dict[str, Any]] = {
    "two-layers-16": {**_TWO_LAYERS, "n_seeds": 3},
    "two-layers-48": {**_TWO_LAYERS, "widths": (48, 1)},
    "two-layers-16-dropout-0.7": {**_TWO_LAYERS, "feature_dropout": 0.7},
    "two-layers-16-epochs-40": {**_TWO_LAYERS, "epochs": 40, "patience": 40},
    "two-layers-16-scale-1": {**_TWO_LAYERS, "input_scale": 1.0},
}

#: Seeds of two variants whose densities are mixed; no file has them both, since their
#: features are of pictures of two sizes.
PAIRS = {
    "two-scales-1-and-1.46": ("two-layers-16", "two-layers-16-scale-1"),
}


def fixation_scores(
    model: str | Path, dataset: FixationDataset, path: Path
) -> dict[str, np.ndarray]:
    """Return what every seed makes of the fixations of its validation part.

    Args:
        model: name or run folder.
        dataset: what it was trained on.
        path: where this is kept.

    Returns:
        `image` [n], the image of each fixation; `log_likelihood` [n_seeds, n] and
        `center_bias` [n], bits over uniform.
    """
    if not path.exists():
        predictor = load_pretrained(model)
        cache = find_cache(predictor, dataset)
        folds = predictor.card["folds"]
        images, likelihoods, biases = [], [], []
        for members in seeds_of_folds(predictor.card).values():
            for index in folds[members[0]]["validation"]:
                own = dataset.fixations.of_images(index)
                size = tuple(map(int, dataset.image_sizes[index]))
                features = cache.read([index], predictor.model.taps)[0]
                densities = [
                    predictor.log_density_of_features(features, size, fold=member)
                    for member in members
                ]
                bias = predictor.center_bias_log_density(size, fold=members[0])
                images.append(np.full(len(own), index))
                likelihoods.append([log_likelihood(d, own.x, own.y) for d in densities])
                biases.append(log_likelihood(bias, own.x, own.y))
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                image=np.concatenate(images),
                log_likelihood=np.concatenate(likelihoods, axis=1),
                center_bias=np.concatenate(biases),
            )
    with np.load(path) as stored:
        return dict(stored)


def image_gains(
    scores: dict[str, np.ndarray], mixed: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers of images, and the information gain of each in bits per fixation.

    Args:
        scores: from `fixation_scores`.
        mixed: how many seeds make one density; 1 for the mean gain of the single ones.
    """
    bits = scores["log_likelihood"]
    if mixed == 1:
        bits = bits.mean(axis=0)
    else:
        bits = np.log2(np.exp2(bits[:mixed]).mean(axis=0))
    images, own = np.unique(scores["image"], return_inverse=True)
    total = np.bincount(own, bits - scores["center_bias"])
    return images, total / np.bincount(own)


def ways(run: Path, dataset: FixationDataset) -> Iterator[tuple[str, int, Gains, int]]:
    """Yield what a finished run can be made into, and what that reaches.

    Yields:
        Way, number of seeds, `image_gains`, and numbers in the readouts of ten folds.
    """
    tensors, card = load_model(run)
    n_folds = len({fold["fold"] for fold in card["folds"]})
    n_seeds = len(card["folds"]) // n_folds
    size = sum(
        array[0].size for name, array in tensors.items() if name.startswith("readout/")
    )
    scores = fixation_scores(run, dataset, run / SCORES)
    yield "single", 1, image_gains(scores), 10 * size
    for n in range(2, n_seeds + 1):
        yield "mixture", n, image_gains(scores, n), 10 * n * size
        if card["model"]["layer_norm"]:
            continue
        path = run / f"joined-{n}.safetensors"
        joined, joined_card = join_seeds(tensors, card, n)
        save_model(path, joined, joined_card)
        own = fixation_scores(path, dataset, path.with_suffix(".npz"))
        size_of_joined = sum(
            array[0].size
            for name, array in joined.items()
            if name.startswith("readout/")
        )
        yield "joined", n, image_gains(own), 10 * size_of_joined


def lines(
    name: str, run: Path, dataset: FixationDataset, released: Gains
) -> list[dict[str, Any]]:
    """Return the lines of a finished run in the table.

    Args:
        name: of the variant.
        run: its folder.
        dataset: what it was trained on.
        released: images and gains of the reference.
    """
    log, changes = read_log(run), VARIANTS[name]
    about = {
        "changes": json.dumps(changes),
        "trained_seeds": changes.get("n_seeds", 1),
        "train_information_gain": log[-1]["train_information_gain"],
        "best_epochs": json.dumps(sorted(load_model(run)[1]["best_epoch"])),
        "epochs": len(log),
        "seconds": seconds_of(log),
        "alarms": sum(len(one["alarms"]) for one in log),
    }
    return [
        {
            "variant": name,
            "way": way,
            "seeds": n_seeds,
            **against(gains, released),
            "numbers_of_ten_folds": size,
            **about,
        }
        for way, n_seeds, gains, size in ways(run, dataset)
    ]


def against(gains: Gains, released: Gains) -> dict[str, float]:
    """Return the mean gain of images, and how much more than the reference's it is."""
    images, gain = gains
    reference = released[1][np.searchsorted(released[0], images)]
    low, high = bootstrap_interval(gain)
    less, more = paired_interval(gain, reference)
    return {
        "validation_information_gain": gain.mean(),
        "low": low,
        "high": high,
        "difference": (gain - reference).mean(),
        "difference_low": less,
        "difference_high": more,
        "n_images": len(gain),
    }


def pair_line(
    name: str, runs: list[Path], like: dict[str, Any], released: Gains
) -> dict[str, Any]:
    """Return the line of the first seeds of two variants, their densities mixed.

    Args:
        name: a key of `PAIRS`.
        runs: of both, where they have been scored.
        like: a line, for the names of the columns.
        released: images and gains of the reference.
    """
    one, other = (dict(np.load(run / SCORES)) for run in runs)
    seeds = [scores["log_likelihood"][0] for scores in (one, other)]
    mixed = image_gains(one | {"log_likelihood": np.stack(seeds)}, 2)
    line = {"variant": name, "way": "mixture", "seeds": 2, **against(mixed, released)}
    return dict.fromkeys(like, "") | line | {"changes": json.dumps(PAIRS[name])}


def main() -> None:
    """Train what is missing and is wanted, and write the table."""
    configs = {
        name: dataclasses.replace(BASE, **changes) for name, changes in VARIANTS.items()
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=configs, default=list(configs))
    parser.add_argument("-o", "--output", default=RESULTS / "osie_readout_search.csv")
    arguments = parser.parse_args()
    dataset, output = read_folder(arguments.data), Path(arguments.output)
    arguments.runs.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {}
    if output.exists():
        with output.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row["variant"], []).append(row)
    kept = arguments.runs / "released.npz"
    released = image_gains(fixation_scores(REFERENCE, dataset, kept))
    for name, config in configs.items():
        run = arguments.runs / name
        if name in arguments.only and not (run / "model.safetensors").exists():
            train(dataset, config, run, resume=True)
        if not (run / "model.safetensors").exists():
            continue
        rows[name] = lines(name, run, dataset, released)
        for row in rows[name]:
            print(*(row[key] for key in list(row)[:7]), flush=True)
        table = [row for one in configs for row in rows.get(one, [])]
        for pair, variants in PAIRS.items():
            runs = [arguments.runs / one for one in variants]
            if all((run / SCORES).exists() for run in runs):
                rows[pair] = [pair_line(pair, runs, table[0], released)]
            table += rows.get(pair, [])
        write_table(output, table)


if __name__ == "__main__":
    main()
