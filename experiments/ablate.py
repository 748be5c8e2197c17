"""What each part of the model and of its training is worth, factor by factor.

    python experiments/ablate.py --data ../shared/data/osie --runs runs/ablation \
        --factors depth_and_width --hours 2

A grid of one-factor changes (`grid`), each trained on ten folds. Every image is scored
by the best epoch of the fold that has it in its *validation* part; means over images
with a 95 % interval by bootstrap over images, and how much better than the released
variant, paired on the same images. The gain is over one baseline for all, the center
bias of the released variant's folds (over its own, while that is not trained), and over
the fixations of all people, also where some were trained on.

A finished variant is not trained again, an interrupted one goes on, and scores stay in
the runs; `--hours` ends the command before another variant would begin. Writes
`results/ablation.csv` (a row a variant) and `results/ablation_FACTOR.png`.

Variants whose taps are among the paper's five read one feature cache, if that of all
five is there (of the variants in the order of the grid, the first makes it). Other
taps, scales and networks compute their own (of OSIE 1.5 to 6 GB each, and up to 20
minutes): see `--max-cache-gb`. The ten folds of a variant are members of one program;
each variant is a program of its own.

Not in the grid, for the library has no such switch: center biases of another kind,
other values of VGG-19, and bilinear enlargement of the features, with which the readout
could not stay on their grid (all but its first layer would take 64 times the work).

Time on 2 cores for OSIE: a ten-fold epoch took 12.9 s (`benchmarks/ten_folds.py`), so a
variant of 20 epochs takes about 5 minutes and `depth_and_width` (15 variants) about 1.2
hours; wider readouts take longer.
"""

import argparse
import csv
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from deepgaze_jax.architectures import deepgaze2
from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.files import write_text
from deepgaze_jax.run_scores import validation_scores
from deepgaze_jax.summaries import bootstrap_interval, paired_interval
from deepgaze_jax.training import TrainConfig, train

RESULTS = Path(__file__).parent / "results"
FIVE = deepgaze2().taps
SINGLE = tuple(
    f"{kind}{block}_{layer}"
    for block in (4, 5)
    for layer in range(1, 5)
    for kind in ("conv", "relu")
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """One level of one factor.

    Attributes:
        factor: what is changed.
        level: to what, for people.
        changes: fields of the configuration.
        n_subjects: how many people the fixations are of; None for all.
    """

    factor: str
    level: str
    changes: dict
    n_subjects: int | None = None

    @property
    def name(self) -> str:
        """What its run is called."""
        return f"{self.factor}-{self.level}".replace(" ", "_").replace("+", "_")


def layers(depth: int, width: int) -> tuple[int, ...]:
    """Return the widths of a readout of `depth` layers.

    Each hidden layer but the last has `width` units, the last one two as in the paper.
    """
    if depth == 1:
        return (1,)
    return (*(width,) * max(depth - 2, 0), 2, 1) if depth > 2 else (width, 1)


def grid() -> Iterator[Variant]:
    """Yield all variants; the first of each factor is the released one where it is."""
    yield Variant("reference", "released", {})
    yield Variant("reference", "other seed", {"seed": 1})
    for depth, width in itertools.product(range(1, 6), (8, 16, 64)):
        if depth > 1 or width == 16:
            widths = layers(depth, width)
            level = f"{depth} layers of {width}" if depth > 1 else "linear"
            yield Variant("depth_and_width", level, {"widths": widths})
    yield Variant("nonlinearity", "softplus", {"nonlinearity": "softplus"})
    for scaling in ("deviation", "off"):
        yield Variant("feature_scaling", scaling, {"feature_scaling": scaling})
    for tap in SINGLE:
        yield Variant("single_tap", tap, {"taps": (tap,)})
    for size in range(1, len(FIVE)):
        for taps in itertools.combinations(FIVE, size):
            yield Variant("subset_of_taps", "+".join(taps), {"taps": taps})
    for how in ("fixed", "off"):
        yield Variant("blur", how, {"blur": how})
        yield Variant("center_bias_weight", how, {"center_bias_weight": how})
    for scale in (0.5, 0.75, 1.0, 1.25):
        yield Variant("input_scale", f"{scale:g}", {"input_scale": scale})
    for share in (0.0, 0.25, 0.75):
        yield Variant("dropout", f"{share:g}", {"feature_dropout": share})
    for decay in (1e-3, 1e-2, 1e-1):
        yield Variant("weight_decay", f"{decay:g}", {"weight_decay": decay})
    for network in ("deepgaze1", "icf", "deepgaze2-vgg16", "deepgaze2-iie-readout"):
        yield Variant("network", network, {"architecture": network})
    for share in (0.05, 0.1, 0.25, 0.5):
        yield Variant("images", f"{share:g}", {"train_share": share})
    for n in (1, 2, 5, 10):
        yield Variant("subjects", str(n), {}, n)


def of_subjects(dataset: FixationDataset, n: int | None) -> FixationDataset:
    """Return a data set with the fixations of its first `n` people."""
    if n is None:
        return dataset
    fixations = dataset.fixations
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name}-{n}-subjects",
        fixations=fixations.select(fixations.subject < n),
    )


def scores_of(run: Path, dataset: FixationDataset) -> dict[str, np.ndarray]:
    """Return images, LL and IG of a run's validation parts; kept beside the run."""
    path = run / "validation_scores.json"
    names = ("images", "log_likelihood", "information_gain")
    if not path.exists():
        found = validation_scores(run, dataset)
        values = {name: getattr(found, name).tolist() for name in names}
        write_text(path, json.dumps({"data": dataset.name, **values}) + "\n")
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {name: np.array(stored[name]) for name in names}


def row(
    variant: Variant, run: Path, own: dict, released: dict | None
) -> dict[str, object]:
    """Return the line of a finished run.

    Args:
        variant: what it is.
        run: its folder.
        own: its scores, from `scores_of`.
        released: those of the released variant, None while it has not been trained.
    """
    log = [json.loads(line) for line in (run / "log.jsonl").open(encoding="utf-8")]
    gain, difference = own["information_gain"], {}
    if released is not None:
        _, mine, theirs = np.intersect1d(
            own["images"], released["images"], return_indices=True
        )
        other = released["information_gain"][theirs]
        center_bias = released["log_likelihood"][theirs] - other
        gain = own["log_likelihood"][mine] - center_bias
        low, high = paired_interval(gain, other)
        difference = {
            "difference": (gain - other).mean(),
            "difference_low": low,
            "difference_high": high,
        }
    low, high = bootstrap_interval(gain)
    empty = dict.fromkeys(("difference", "difference_low", "difference_high"))
    return {
        "factor": variant.factor,
        "level": variant.level,
        "changes": json.dumps(variant.changes),
        "validation_information_gain": gain.mean(),
        "low": low,
        "high": high,
        **(difference or empty),
        "n_images": len(gain),
        "train_information_gain": log[-1]["train_information_gain"],
        "n_folds": len(log[-1]["validation_by_fold"]),
        "epochs": len(log),
        "seconds": sum(x["seconds_training"] + x["seconds_validation"] for x in log),
        "alarms": sum(len(record["alarms"]) for record in log),
    }


def plot(rows: list[dict], folder: Path) -> None:
    """Write a picture for each factor: every level against the released one.

    Paired differences with their intervals; gains, where there is nothing to compare.
    """
    compared = rows[0]["difference"] is not None
    names = ("validation_information_gain", "low", "high")
    if compared:
        names = ("difference", "difference_low", "difference_high")
    for factor in dict.fromkeys(r["factor"] for r in rows):
        own = [r for r in rows if r["factor"] == factor]
        means, low, high = (np.array([r[name] for r in own]) for name in names)
        figure, axes = plt.subplots(figsize=(6, 1.2 + 0.25 * len(own)), dpi=120)
        ends = np.abs([low - means, high - means])
        axes.errorbar(means, range(len(own)), xerr=ends, fmt="o", capsize=2)
        axes.set_yticks(range(len(own)), [r["level"] for r in own])
        if compared:
            axes.axvline(0, linestyle=":")
        axes.invert_yaxis()
        what = "validation IG less that of the released variant" * compared
        what = what or "validation IG over the center bias"
        axes.set_xlabel(f"{what} (bit/fixation)")
        axes.set_title(factor.replace("_", " "))
        figure.tight_layout()
        figure.savefig(folder / f"ablation_{factor}.png")
        plt.close(figure)


def main() -> None:
    """Train what is missing and is wanted, and write the table and the plots."""
    factors = list(dict.fromkeys(variant.factor for variant in grid()))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--factors", nargs="*", choices=factors, default=factors)
    parser.add_argument("--levels", nargs="*", help="of these factors; all by default")
    parser.add_argument("--hours", type=float, default=math.inf)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--only-folds", type=int, nargs="*")
    parser.add_argument("--pixels-per-dva", type=float, default=24.0)
    parser.add_argument("--max-cache-gb", type=float)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    stated = dataset.pixels_per_dva is not None
    folds = None if arguments.only_folds is None else tuple(arguments.only_folds)
    base = TrainConfig(
        pixels_per_dva=None if stated else arguments.pixels_per_dva,
        epochs=arguments.epochs,
        only_folds=folds,
    )
    bound = arguments.max_cache_gb and int(arguments.max_cache_gb * 1e9)
    end = time.monotonic() + 3600 * arguments.hours
    finished = []
    for variant in grid():
        run = arguments.runs / variant.name
        wanted = variant.factor in arguments.factors and (
            not arguments.levels or variant.level in arguments.levels
        )
        done = (run / "model.safetensors").exists()
        if wanted and not done and time.monotonic() < end:
            config = dataclasses.replace(base, **variant.changes)
            data = of_subjects(dataset, variant.n_subjects)
            train(data, config, run, resume=True, max_cache_bytes=bound)
            done = True
        if done:
            finished.append((variant, run, scores_of(run, dataset)))
            print(variant.name, f"{finished[-1][2]['information_gain'].mean():.3f}")
    if not finished:
        raise SystemExit("no variant is finished")
    first, _, released = finished[0]
    if first.level != "released":
        released = None
    rows = [row(variant, run, own, released) for variant, run, own in finished]
    arguments.output.mkdir(parents=True, exist_ok=True)
    with (arguments.output / "ablation.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    matplotlib.use("Agg")
    plot(rows, arguments.output)


if __name__ == "__main__":
    main()
