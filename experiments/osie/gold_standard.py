"""How well other people predict a person on OSIE: the ceiling of every model.

    python experiments/osie/gold_standard.py --data ../shared/data/osie

Ten folds over images as in training. Bandwidth and weights are fitted on a fold's
training images and scored on its test images; the baseline, and the center bias in the
mixture, is that of the fold. Beside it the same with parameters and center bias of the
whole data set, each image left out of its own center bias. Writes scores per image
(CSV) and the parameters and means (JSON). Two minutes of one core, 1 GB of memory; a
fold that is already in the JSON is not fitted again.
"""

import argparse
import csv
import dataclasses
import json
from pathlib import Path

import numpy as np

from deepgaze_jax.center_bias import (
    fit_center_bias,
    fit_center_biases,
    resample_log_density,
)
from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.folds import make_folds
from deepgaze_jax.gold_standard import (
    GoldStandard,
    gold_standard_log_likelihood,
    joint_log_likelihood,
)
from deepgaze_jax.gold_standard_fit import fit_gold_standard
from deepgaze_jax.leave_one_out import leave_one_out_center_biases
from deepgaze_jax.metrics import averages, bootstrap_interval, log_likelihood


def scores(
    dataset: FixationDataset, image: int, gold: GoldStandard, center_bias: np.ndarray
) -> dict[str, float]:
    """Return the mean bits over uniform on an image: gold, joint, center bias."""
    own = dataset.fixations.of_images(image)
    baseline = resample_log_density(center_bias, *map(int, dataset.image_sizes[image]))
    return {
        "n_fixations": len(own),
        "center_bias": log_likelihood(baseline, own.x, own.y).mean(),
        "gold_standard": gold_standard_log_likelihood(gold, own, baseline).mean(),
        "joint": joint_log_likelihood(gold, own, baseline).mean(),
    }


def summary(rows: list[dict[str, float]]) -> dict[str, object]:
    """Return the means of all scores, and the information gain with its interval."""
    counts = [row["n_fixations"] for row in rows]
    result = {}
    for name in ("center_bias", "gold_standard", "joint"):
        bits = np.array([row[name] for row in rows])
        result[f"{name}_ll"] = dataclasses.asdict(averages(bits, counts))
        gain = bits - [row["center_bias"] for row in rows]
        if name != "center_bias":
            means = dataclasses.asdict(averages(gain, counts))
            result[f"{name}_ig"] = means | {"interval": bootstrap_interval(gain)}
    return result


def main() -> None:
    """Fit, score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("-o", "--output", default="experiments/results")
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    fixations, sizes = dataset.fixations, dataset.image_sizes
    path = Path(arguments.output) / "osie_gold_standard.json"
    done = json.loads(path.read_text()) if path.is_file() else {}
    fits = done.get("folds", {})

    folds = make_folds(len(dataset))
    center_biases = fit_center_biases(fixations, sizes, [fold.train for fold in folds])
    by_image: dict[int, dict[str, float]] = {}
    for number, (fold, center_bias) in enumerate(
        zip(folds, center_biases, strict=True)
    ):
        if str(number) not in fits:
            gold = fit_gold_standard(fixations, sizes, fold.train)
            fits[str(number)] = dataclasses.asdict(gold)
            path.write_text(json.dumps({"folds": fits}, indent=2) + "\n")
            print(number, gold)
        gold = GoldStandard(**fits[str(number)])
        for image in fold.test:
            by_image[int(image)] = scores(dataset, image, gold, center_bias.log_density)
    rows = [by_image[image] for image in range(len(dataset))]

    pooled = fit_center_bias(fixations, sizes)
    without = leave_one_out_center_biases(fixations, sizes, pooled)
    gold = fit_gold_standard(fixations, sizes, center_biases=without)
    whole = [scores(dataset, i, gold, without[i]) for i in range(len(dataset))]
    result = {
        "data": dataset.name,
        "unit": "bits per fixation; gains over the center bias",
        "ten_folds": summary(rows),
        "whole_data_set": {"parameters": dataclasses.asdict(gold)} | summary(whole),
        "folds": fits,
    }
    path.write_text(json.dumps(result, indent=2) + "\n")
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *rows[0]])
        for name, row in zip(dataset.image_names, rows, strict=True):
            numbers = [round(float(value), 6) for value in list(row.values())[1:]]
            writer.writerow([name, row["n_fixations"], *numbers])
    for part in ("ten_folds", "whole_data_set"):
        print(part, json.dumps(result[part], indent=1))


if __name__ == "__main__":
    main()
