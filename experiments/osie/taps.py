"""Which feature maps matter: single ones, one left out, the paper's five, random sets.

    python experiments/osie/taps.py --data ../shared/data/osie --runs runs/taps \
        --hours 2

In the spirit of the paper's search: folds 0 to 2 of every second photograph (350; a
fold trains on 280), 6 epochs, the epoch kept that is best on the validation part.
Scores are those of the three *validation* parts (105 images), since this is how taps
would be chosen; the test parts are not looked at. Sets:

* each tap of block 5 and of block 4 alone, before and after its ReLU;
* the paper's five, with two seeds, and each of them left out;
* all eight taps of block 5, and the four of block 4 before their ReLUs;
* 30 random sets: of every five, four are of two to seven taps of block 5 and one is of
  two to four of block 4 (`--n-random`). All taps of one readout lie on one grid, so no
  set has taps of both blocks.

Writes `results/osie_taps.csv` (a row a set: information gain with 95 % interval over
images, and the difference to the paper's five, paired), `osie_taps.json` (the order,
and what each tap of block 5 adds among the random sets) and `osie_taps.png`.

The features of a block are computed once for all of its sets: of block 5 they are
copied from the cache that the released model was trained from, where it is there
(3.0 GB), of block 4 they have four times the cells and are stored as float16 (5.8 GB).
A finished set is not trained again, an interrupted one goes on; `--hours` ends the
command before another would begin. Time on 2 cores beside other programs: a minute a
set of block 5. Memory: 7 GB.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from _osie import RESULTS, read_log, seconds_of, write_table
from matplotlib.figure import Figure

from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.files import write_text
from deepgaze_jax.model import FixationModel
from deepgaze_jax.run_scores import validation_scores
from deepgaze_jax.summaries import bootstrap_interval, paired_interval
from deepgaze_jax.training import TrainConfig, train

FIVE = FixationModel().taps
BLOCKS = {
    block: tuple(
        f"{kind}{block}_{layer}" for layer in range(1, 5) for kind in ("conv", "relu")
    )
    for block in (5, 4)
}
KINDS = {
    "five": "the paper's five",
    "one left out": "one of the five left out",
    "one tap": "one tap",
    "many": "all of a block",
    "random": "random sets",
}


@dataclass(frozen=True)
class TapSet:
    """A set of feature maps to train with.

    Attributes:
        kind: why it is tried, a key of `KINDS`.
        taps: its maps, bottom to top.
        seed: of the training.
    """

    kind: str
    taps: tuple[str, ...]
    seed: int = 0

    @property
    def block(self) -> int:
        """Block of VGG-19 that all of its taps are from."""
        return int(self.taps[0].removeprefix("conv").removeprefix("relu")[0])

    @property
    def name(self) -> str:
        """What its run is called."""
        return "+".join(self.taps) + f"-seed-{self.seed}" * (self.seed > 0)


def random_sets(n: int) -> Iterator[TapSet]:
    """Yield `n` different random sets, the same first ones for every `n`."""
    rng, seen, made = np.random.default_rng(0), {frozenset(FIVE)}, 0
    while made < n:
        block, most = (4, 4) if made % 5 == 4 else (5, 7)
        size = rng.integers(2, most + 1)
        chosen = set(rng.choice(BLOCKS[block], size, replace=False))
        if frozenset(chosen) in seen:
            continue
        seen.add(frozenset(chosen))
        yield TapSet("random", tuple(t for t in BLOCKS[block] if t in chosen))
        made += 1


def tap_sets(n_random: int) -> list[TapSet]:
    """Return all sets, in the order in which they are trained."""
    five = [TapSet("five", FIVE), TapSet("five", FIVE, seed=1)]
    left_out = [
        TapSet("one left out", tuple(tap for tap in FIVE if tap != out)) for out in FIVE
    ]
    sets, chance = [*five, *left_out], list(random_sets(n_random))
    for block, taps in BLOCKS.items():
        # Of block 4 first a set of all its maps, whose features serve all others.
        sets.append(TapSet("many", taps if block == 5 else taps[::2]))
        sets += [TapSet("one tap", (tap,)) for tap in taps]
        sets += [one for one in chance if one.block == block]
    return sets


def gains(run: Path, dataset: FixationDataset) -> np.ndarray:
    """Return the gain of each validation image; kept beside the run."""
    path = run / "validation_gains.json"
    if not path.exists():
        found = validation_scores(run, dataset)
        write_text(path, json.dumps(found.information_gain.tolist()) + "\n")
    return np.array(json.loads(path.read_text(encoding="utf-8")))


def row(tapset: TapSet, run: Path, gain: np.ndarray, five: np.ndarray) -> dict:
    """Return the line of a finished set."""
    log = read_log(run)
    low, high = bootstrap_interval(gain)
    below, above = paired_interval(gain, five)
    return {
        "kind": tapset.kind,
        "block": tapset.block,
        "taps": "+".join(tapset.taps),
        "n_taps": len(tapset.taps),
        "seed": tapset.seed,
        "validation_information_gain": gain.mean(),
        "low": low,
        "high": high,
        "less_the_five": (gain - five).mean(),
        "less_the_five_low": below,
        "less_the_five_high": above,
        "n_images": len(gain),
        "train_information_gain": log[-1]["train_information_gain"],
        "epochs": len(log),
        "seconds": seconds_of(log),
    }


def summary(rows: list[dict]) -> dict[str, object]:
    """Return how the paper's five stand, and what a tap adds among random sets."""
    gain = {r["taps"]: r["validation_information_gain"] for r in rows if not r["seed"]}
    five = gain["+".join(FIVE)]
    chance = [r for r in rows if r["kind"] == "random"]
    of_block_5 = [r for r in chance if r["block"] == 5]
    adds = {}
    for tap in BLOCKS[5]:
        groups: dict[bool, list[float]] = {True: [], False: []}
        for one in of_block_5:
            has = tap in one["taps"].split("+")
            groups[has].append(one["validation_information_gain"])
        if groups[True] and groups[False]:
            adds[tap] = {
                "with": np.mean(groups[True]),
                "n_with": len(groups[True]),
                "without": np.mean(groups[False]),
                "n_without": len(groups[False]),
            }
    best = max(rows, key=lambda r: r["validation_information_gain"])
    return {
        "data": "osie, every second image",
        "unit": "bits per fixation over the fold's center bias, validation parts",
        "n_sets": len(rows),
        "hours": sum(r["seconds"] for r in rows) / 3600,
        "five": five,
        "seeds_of_the_five": [
            r["validation_information_gain"] for r in rows if r["kind"] == "five"
        ],
        "best": {"taps": best["taps"], "gain": best["validation_information_gain"]},
        "random": {
            "n": len(chance),
            "n_of_block_5": len(of_block_5),
            "better_than_the_five": int(
                sum(r["validation_information_gain"] > five for r in chance)
            ),
            "clearly_better": sum(bool(r["less_the_five_low"] > 0) for r in chance),
            "clearly_worse": sum(bool(r["less_the_five_high"] < 0) for r in chance),
            "best": max((r["validation_information_gain"] for r in chance), default=0),
        },
        "tap_among_random_sets": adds,
    }


def plot(rows: list[dict]) -> Figure:
    """Return every set against the paper's five, kind by kind."""
    figure = Figure(figsize=(8, 1.5 + 0.17 * len(rows)), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.6", linewidth=0.8)
    at, ticks = 0, []
    for k, (kind, title) in enumerate(KINDS.items()):
        own = [r for r in rows if r["kind"] == kind]
        own.sort(key=lambda r: -r["validation_information_gain"])
        means = np.array([r["less_the_five"] for r in own])
        ends = [
            means - [r["less_the_five_low"] for r in own],
            np.array([r["less_the_five_high"] for r in own]) - means,
        ]
        places = at + np.arange(len(own))
        axes.errorbar(
            means, places, xerr=ends, fmt="o", ms=3, lw=0.8, color=f"C{k}", label=title
        )
        ticks += [r["taps"].replace("+", " ") for r in own]
        at += len(own)
    axes.set_yticks(range(at), ticks, fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("validation IG less that of the paper's five (bit/fixation)")
    axes.legend(fontsize=7)
    return figure


def main() -> None:
    """Train what is missing, and write table, summary and plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--n-random", type=int, default=30)
    parser.add_argument("--hours", type=float, default=math.inf)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--pixels-per-dva", type=float, default=24.0)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    dataset = dataset.select(np.arange(0, len(dataset), 2))
    scale = arguments.pixels_per_dva if dataset.pixels_per_dva is None else None
    end = time.monotonic() + 3600 * arguments.hours
    finished = []
    for tapset in tap_sets(arguments.n_random):
        run = arguments.runs / tapset.name
        if not (run / "model.safetensors").exists() and time.monotonic() < end:
            config = TrainConfig(
                pixels_per_dva=scale,
                only_folds=(0, 1, 2),
                taps=tapset.taps,
                seed=tapset.seed,
                epochs=arguments.epochs,
                feature_dtype="float16" if tapset.block == 4 else "float32",
            )
            train(dataset, config, run, resume=True)
            # Each set has programs of its own.
            jax.clear_caches()
        if (run / "model.safetensors").exists():
            finished.append((tapset, run, gains(run, dataset)))
            print(tapset.name, f"{finished[-1][2].mean():.3f}", flush=True)
    five = [gain for tapset, _, gain in finished if tapset.kind == "five"]
    if not five:
        raise SystemExit("the paper's five are not trained yet; give it more --hours")
    rows = [row(tapset, run, gain, five[0]) for tapset, run, gain in finished]
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "osie_taps.csv"
    write_table(path, rows)
    text = json.dumps(summary(rows), indent=1) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    plot(rows).savefig(path.with_suffix(".png"))


if __name__ == "__main__":
    main()
