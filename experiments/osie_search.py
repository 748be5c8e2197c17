"""Choice of the readout's training on OSIE, on validation parts only.

    python experiments/osie_search.py --data ../shared/data/osie --runs runs/search

Every variant changes a few fields of a common configuration and trains folds 0, 3 and
6. What is compared is the information gain of the validation parts (bits/fixation over
the fold's center bias); test parts are not looked at. Finished runs are not repeated,
interrupted ones go on. Writes `experiments/results/osie_search.csv`.

Time on 2 cores: about 25 minutes for each input scale to compute its features once,
then 1 to 3 minutes a variant. Disk: 2.7 GB (scale 1) and 5.9 GB (scale 35/24).
"""

import argparse
import csv
import dataclasses
import json
from pathlib import Path

from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.training import TrainConfig, train

BASE = TrainConfig(pixels_per_dva=24.0, only_folds=(0, 3, 6), patience=100)

#: Each factor around the configuration that was released.
VARIANTS: dict[str, dict] = {
    "released": {},
    "scale-1": {"input_scale": 1.0},
    "rate-3e-3": {"learning_rate": 3e-3},
    "rate-2e-2": {"learning_rate": 2e-2},
    "no-dropout": {"feature_dropout": 0.0},
    "dropout-0.25": {"feature_dropout": 0.25},
    "dropout-0.75": {"feature_dropout": 0.75},
    "decay-0.1": {"weight_decay": 0.1},
    "no-average": {"average_decay": 0.0},
    "average-0.995": {"average_decay": 0.995},
    "batch-20": {"batch_size": 20},
    "epochs-24": {"epochs": 24},
    "linear": {"widths": (1,)},
    "float16": {"feature_dtype": "float16"},
}


def main() -> None:
    """Train every variant and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=VARIANTS)
    parser.add_argument("-o", "--output", default="experiments/results/osie_search.csv")
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    rows = []
    for name, changes in VARIANTS.items():
        run = arguments.runs / name
        if not arguments.only or name in arguments.only:
            config = dataclasses.replace(BASE, **changes)
            train(dataset, config, run, resume=True)
        if not (run / "model.safetensors").exists():
            continue
        log = [json.loads(line) for line in (run / "log.jsonl").open()]
        best = max(log, key=lambda record: record["validation_information_gain"])
        rows.append(
            {
                "variant": name,
                "changes": json.dumps(changes),
                "validation_information_gain": best["validation_information_gain"],
                "train_information_gain": best["train_information_gain"],
                "best_epoch": best["epoch"],
                "seconds_per_epoch": log[-1]["seconds_training"],
            }
        )
        print(*rows[-1].values(), sep="  ", flush=True)
    with open(arguments.output, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
