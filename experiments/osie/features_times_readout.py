"""Features and readout on OSIE: what each is worth with and without the other.

    python experiments/osie/features_times_readout.py --data ../shared/data/osie \
        --runs runs/features_times_readout

Features of VGG-19, AlexNet and ICF (intensity and contrast), each with the paper's four
readout layers and with a linear one, trained on the same ten folds with the recipes of
the released models (ICF at its higher rate; rates were chosen with the readout that
was released). Three of the six are the released models: their scores are read from
`results/`, unless `--train-all` is given. Scored on the test parts by the fold that has
not seen the image, over the fold's own center bias. Writes
`results/osie_features_times_readout.csv` (information gain of each image) and `.json`:
means, what the deep readout is worth with each kind of features, what the features are
worth with each readout, and interactions (the readout's worth with the first features
minus that with the second), with paired intervals over images.

The validation gain of each fold of what was trained here is in
`osie_features_times_readout_validation.json`.

A finished run is not trained again, an interrupted one goes on. Time on 2 cores, beside
other work: about an hour without ICF. Memory: 3 GB. Disk: the
features of all three networks, 8 GB.
"""

import argparse
import csv
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
from _osie import RESULTS, spread

from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.files import write_text
from deepgaze_jax.model import FixationModel
from deepgaze_jax.model_files import load_model
from deepgaze_jax.run_scores import part_scores
from deepgaze_jax.training import TrainConfig, train

FEATURES = {
    "VGG-19": TrainConfig(architecture="deepgaze2"),
    "AlexNet": TrainConfig(architecture="deepgaze1"),
    "ICF": TrainConfig(architecture="icf", learning_rate=3e-2),
}
READOUTS = {"deep": FixationModel().widths, "linear": (1,)}
RELEASED = {
    ("VGG-19", "deep"): "deepgaze2_paper",
    ("AlexNet", "linear"): "deepgaze1",
    ("ICF", "deep"): "icf",
}


def released(name: str, dataset: FixationDataset) -> np.ndarray:
    """Return the stored information gain of each image under a released model."""
    path = RESULTS / f"osie_{name}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        found = {row["image"]: float(row["ig"]) for row in csv.DictReader(file)}
    if list(found) != list(dataset.image_names):
        raise SystemExit(f"{path} is of other images; add --train-all")
    return np.array(list(found.values()))


def gains(run: Path, dataset: FixationDataset) -> np.ndarray:
    """Return the gain of each image, bits per fixation, [n_images]; kept in the run."""
    path = run / "test_gains.json"
    if not path.exists():
        found = part_scores(run, dataset, "test")
        if len(found.images) < len(dataset):
            raise SystemExit(
                "some images have no score; use data with fixations on each"
            )
        write_text(path, json.dumps(found.information_gain.tolist()) + "\n")
    return np.array(json.loads(path.read_text(encoding="utf-8")))


def effects(gain: dict[tuple[str, str], np.ndarray]) -> dict[str, object]:
    """Return means, simple effects and interactions.

    Args:
        gain: information gain of each image, by features and readout.
    """
    networks = list(dict.fromkeys(features for features, _ in gain))
    pairs = list(itertools.combinations(networks, 2))
    readout = {
        features: gain[features, "deep"] - gain[features, "linear"]
        for features in networks
    }
    return {
        "information_gain": {
            f"{features}, {how}": spread(values)
            for (features, how), values in gain.items()
        },
        "deep_minus_linear": {name: spread(values) for name, values in readout.items()},
        "features": {
            f"{first} minus {second}": {
                how: spread(gain[first, how] - gain[second, how]) for how in READOUTS
            }
            for first, second in pairs
        },
        "interaction": {
            f"{first}, {second}": spread(readout[first] - readout[second])
            for first, second in pairs
        },
    }


def main() -> None:
    """Train what is missing, score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--pixels-per-dva", type=float, default=24.0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--features", nargs="+", choices=FEATURES, default=[*FEATURES])
    parser.add_argument("--train-all", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    scale = arguments.pixels_per_dva if dataset.pixels_per_dva is None else None
    gain, validation = {}, {}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for features in arguments.features:
        recipe = FEATURES[features]
        for how, widths in READOUTS.items():
            config = dataclasses.replace(
                recipe, widths=widths, pixels_per_dva=scale, epochs=arguments.epochs
            )
            name = None if arguments.train_all else RELEASED.get((features, how))
            if name is None:
                run = arguments.runs / f"{features}-{how}"
                train(dataset, config, run, resume=True)
                scores = load_model(run)[1]["scores"]
                name_of_cell = f"{features}, {how}"
                validation[name_of_cell] = scores["validation_information_gain"]
                write_text(
                    arguments.output / "osie_features_times_readout_validation.json",
                    json.dumps(validation, indent=1) + "\n",
                )
                gain[features, how] = gains(run, dataset)
            else:
                gain[features, how] = released(name, dataset)
            print(features, how, spread(gain[features, how]), flush=True)
    result = {
        "data": dataset.name,
        "unit": "bits per fixation over the fold's center bias, mean per image",
        "n_images": len(dataset),
        **effects(gain),
    }
    path = arguments.output / "osie_features_times_readout.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *(f"{features}, {how}" for features, how in gain)])
        columns = [values.tolist() for values in gain.values()]
        writer.writerows(zip(dataset.image_names, *columns, strict=True))
    print(json.dumps(result["interaction"]))


if __name__ == "__main__":
    main()
