"""Choice of the training of all three models on OSIE, on validation parts only.

    python experiments/osie/search.py --data ../shared/data/osie --runs runs/search

Every variant changes a few fields of a configuration and trains folds 0, 3 and 6. What
is compared is the information gain of the validation parts (bits/fixation over the
fold's center bias); test parts are not looked at. Finished runs are not repeated,
interrupted ones go on. Writes `experiments/results/osie_search.csv`.

Time on 2 cores: 10 to 25 minutes to compute the features once, then 2 to 4 minutes a
variant. Disk: 5.9 GB.
"""

import argparse
import csv
import dataclasses
import json
from pathlib import Path

from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.training import TrainConfig, train

BASE = TrainConfig(pixels_per_dva=24.0, only_folds=(0, 3, 6), patience=20)

_ICF = {"architecture": "icf"}
_DEEPGAZE1 = {"architecture": "deepgaze1"}

#: Each factor around the configurations that were released.
VARIANTS: dict[str, dict] = {
    "deepgaze2": {},
    "deepgaze2-seed-1": {"seed": 1},
    "deepgaze2-rate-3e-3": {"learning_rate": 3e-3},
    "deepgaze2-no-dropout": {"feature_dropout": 0.0},
    "deepgaze1": _DEEPGAZE1,
    "deepgaze1-scale-1": {**_DEEPGAZE1, "input_scale": 1.0},
    "deepgaze1-dropout": {**_DEEPGAZE1, "feature_dropout": 0.5},
    "icf": {**_ICF, "learning_rate": 3e-2},
    "icf-rate-1e-2": _ICF,
    "icf-rate-1e-1": {**_ICF, "learning_rate": 0.1},
    "icf-rate-1e-2-scale-1": {**_ICF, "input_scale": 1.0},
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
        wanted = not arguments.only or name in arguments.only
        if wanted and not (run / "model.safetensors").exists():
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
            }
        )
        print(*rows[-1].values(), sep="  ", flush=True)
    with open(arguments.output, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
