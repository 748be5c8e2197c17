"""How DeepGaze II grows with the images and with the people that it is trained on.

    python experiments/osie/growth.py --data ../shared/data/osie --runs runs/growth

Folds 0 to 2 with the recipe of `deepgaze2-osie-paper`, from about 35, 70, 140, 280 or
all 560 images (the same ones for all folds, so that a fold has a few more or fewer),
and from the fixations of 1, 2, 4, 8 or all 15 people (drawn at random, the smaller
groups within the larger) on 280 images. With fewer than 280 images an epoch has few
steps: twice as many epochs, and patience, make up for a part of that.

Every model is scored on the *test* parts (210 images, fixations of all people) as
information gain over one and the same baseline, the center bias of the released model,
which all 15 people on 560 images have made; a model's own center bias comes from its
own training fixations, so what is lost there counts as well. The released model is the
one of 560 images: its scores are read from `results/osie_deepgaze2_paper.csv`.

Writes `results/osie_growth.csv` (a row a model, 95 % interval over images, and the
paired difference to the released one) and `osie_growth.png`. A finished run is not
trained again, an interrupted one goes on; `--hours` ends the command before another
would begin. Time on 2 cores: half an hour beside other programs. Memory: 7 GB.
"""

import argparse
import csv
import dataclasses
import json
import math
import time
from pathlib import Path

import numpy as np
from _osie import RESULTS, read_log, seconds_of, write_table
from matplotlib.figure import Figure

from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.files import write_text
from deepgaze_jax.folds import make_folds
from deepgaze_jax.model_files import load_model
from deepgaze_jax.run_scores import part_scores
from deepgaze_jax.summaries import bootstrap_interval, paired_interval
from deepgaze_jax.training import TrainConfig, train

FOLDS = (0, 1, 2)
N_IMAGES = (35, 70, 140, 280)
N_PEOPLE = (1, 2, 4, 8)
#: The people's fixations are on so many images.
IMAGES_OF_PEOPLE = 280


@dataclasses.dataclass(frozen=True)
class Model:
    """One model to train.

    Attributes:
        grows: what is varied: images or people.
        wanted: how many of them.
        n_people: whose fixations it is trained on.
        changes: of the released configuration.
    """

    grows: str
    wanted: int
    n_people: int
    changes: dict


def models(n_train: int, n_people: int) -> list[Model]:
    """Return what is to be trained.

    Args:
        n_train: images that a fold trains on.
        n_people: people of the data set.
    """
    found = []
    for n in (n for n in N_IMAGES if n < n_train):
        changes: dict = {"train_share": n / n_train}
        if n < IMAGES_OF_PEOPLE:
            changes |= {"epochs": 40, "patience": 16}
        found.append(Model("images", n, n_people, changes))
    share = {"train_share": min(1.0, IMAGES_OF_PEOPLE / n_train)}
    found += [Model("people", n, n, share) for n in N_PEOPLE if n < n_people]
    return found


def of_people(dataset: FixationDataset, n: int, seed: int = 0) -> FixationDataset:
    """Return a data set with the fixations of `n` people drawn at random."""
    fixations = dataset.fixations
    order = np.random.default_rng(seed).permutation(np.unique(fixations.subject))
    chosen = fixations.select(np.isin(fixations.subject, order[:n]))
    return dataclasses.replace(dataset, fixations=chosen)


def likelihoods(run: Path, dataset: FixationDataset) -> dict[str, float]:
    """Return the log-likelihood of each test image; kept beside the run."""
    path = run / "test_likelihoods.json"
    if not path.exists():
        found = part_scores(run, dataset, "test")
        names = [dataset.image_names[image] for image in found.images]
        own = dict(zip(names, found.log_likelihood.tolist(), strict=True))
        write_text(path, json.dumps(own) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def row(
    model: Model,
    n_images: float,
    own: np.ndarray,
    released: np.ndarray,
    seconds: float | None,
) -> dict:
    """Return the line of a model from the gains of its test images."""
    low, high = bootstrap_interval(own)
    below, above = paired_interval(own, released)
    return {
        "grows": model.grows,
        "n": model.wanted,
        "train_images_per_fold": n_images,
        "people": model.n_people,
        "information_gain": own.mean(),
        "low": low,
        "high": high,
        "less_the_released": (own - released).mean(),
        "less_the_released_low": below,
        "less_the_released_high": above,
        "n_test_images": len(own),
        "seconds": seconds,
    }


def plot(rows: list[dict]) -> Figure:
    """Return one panel for images and one for people."""
    figure = Figure(figsize=(8, 3), dpi=110, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (grows, column) in zip(
        panels,
        {"images": "train_images_per_fold", "people": "people"}.items(),
        strict=True,
    ):
        own = sorted((r for r in rows if r["grows"] == grows), key=lambda r: r[column])
        n = [r[column] for r in own]
        means = np.array([r["information_gain"] for r in own])
        ends = [
            means - [r["low"] for r in own],
            np.array([r["high"] for r in own]) - means,
        ]
        axes.errorbar(n, means, yerr=ends, fmt="o-", capsize=3, markersize=4)
        axes.set_xscale("log", base=2)
        axes.set_xticks(n, [f"{value:.0f}" for value in n])
        axes.minorticks_off()
        axes.set_xlabel(f"training {grows}" + " of a fold" * (grows == "images"))
    panels[0].set_ylabel("test IG over the center bias\n(bit/fixation)")
    return figure


def main() -> None:
    """Train what is missing, score, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=math.inf)
    parser.add_argument("--pixels-per-dva", type=float, default=24.0)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    folds = [make_folds(len(dataset))[k] for k in FOLDS]
    n_train = len(folds[0].train)
    n_people = len(np.unique(dataset.fixations.subject))
    path = RESULTS / "osie_deepgaze2_paper.csv"
    with path.open(newline="", encoding="utf-8") as file:
        table = {line["image"]: line for line in csv.DictReader(file)}
    if list(table) != list(dataset.image_names):
        raise SystemExit(f"{path} is of other images; give the data it was made from")
    names = [dataset.image_names[k] for fold in folds for k in fold.test]
    released = np.array([float(table[name]["ig"]) for name in names])
    baseline = np.array([float(table[name]["ll"]) for name in names]) - released
    scale = arguments.pixels_per_dva if dataset.pixels_per_dva is None else None
    end = time.monotonic() + 3600 * arguments.hours
    rows = []
    for model in models(n_train, n_people):
        run = arguments.runs / f"{model.grows}-{model.wanted}"
        if not (run / "model.safetensors").exists():
            if time.monotonic() > end:
                continue
            config = TrainConfig(
                pixels_per_dva=scale, only_folds=FOLDS, **model.changes
            )
            train(of_people(dataset, model.n_people), config, run, resume=True)
        found = likelihoods(run, dataset)
        own = np.array([found[name] for name in names]) - baseline
        seconds = seconds_of(read_log(run))
        n_images = np.mean([len(fold["train"]) for fold in load_model(run)[1]["folds"]])
        rows.append(row(model, n_images, own, released, seconds))
        print(run.name, f"{own.mean():.3f}", flush=True)
    if not rows:
        raise SystemExit("nothing is finished yet; give it more --hours")
    everything = Model("images", n_train, n_people, {})
    rows.append(row(everything, n_train, released, released, None))
    # All people on the same images are a point of both rows.
    both = [r for r in rows if r["grows"] == "images" and r["n"] == IMAGES_OF_PEOPLE]
    rows += [{**r, "grows": "people", "n": n_people} for r in both]
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "osie_growth.csv"
    write_table(path, rows)
    plot(rows).savefig(path.with_suffix(".png"))


if __name__ == "__main__":
    main()
