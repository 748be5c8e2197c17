"""The figures of scores, and those of the paper that show photographs.

    python experiments/osie/figures.py
    python experiments/osie/figures.py --data ../shared/data/osie --photographs figures

The first command takes seconds and writes PNG into `docs/figures/`, from the results of
`evaluation.py`, `search.py`, `features_times_readout.py` and `gold_standard.py`:
information gain explained by each model (the paper's Fig. 3), images under gold
standard and models (Fig. 4), features and readout (Fig. 7), and the variants of
training that were compared on validation parts.

The second also draws, as PDF and PNG, the images on which DeepGaze II is closest to the
gold standard and furthest below it (Fig. 5 and 6), those with its largest gain and loss
against DeepGaze I (Fig. 8 and 9), and the gains of each pixel. They contain photographs
of OSIE, which may not be published with this repository: name a folder outside of it.
Takes about a minute on 2 cores; needs VGG-19 and AlexNet.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from _osie import RESULTS, ROOT

from deepgaze_jax.cli import main as deepgaze
from deepgaze_jax.figures.charts import Bar, draw_bars
from deepgaze_jax.figures.style import save_figure, style
from deepgaze_jax.metrics import (
    information_gain_explained,
    information_gain_explained_interval,
)

TITLES = {
    "deepgaze2": "DeepGaze II",
    "deepgaze2-seed-1": "DeepGaze II, another seed",
    "deepgaze2-rate-3e-3": "DeepGaze II, learning rate 0.003",
    "deepgaze2-no-dropout": "DeepGaze II, no feature dropout",
    "deepgaze1": "DeepGaze I",
    "deepgaze1-dropout": "DeepGaze I, half of the features dropped",
    "deepgaze1-scale-1": "DeepGaze I, images not enlarged",
    "icf": "ICF",
    "icf-rate-1e-1": "ICF, learning rate 0.1",
    "icf-rate-1e-2": "ICF, learning rate 0.01",
    "icf-rate-1e-2-scale-1": "ICF, the same, images not enlarged",
}
KEPT = ("ig_explained", "gold_against_models", "ablation")
PARTS = {
    "AlexNet, linear": "AlexNet, linear: DeepGaze I",
    "AlexNet, deep": "AlexNet, deep readout",
    "VGG-19, linear": "VGG-19, linear",
    "VGG-19, deep": "VGG-19, deep: DeepGaze II",
    "ICF, linear": "intensity, contrast, linear",
    "ICF, deep": "intensity, contrast, deep: ICF",
}


def columns(stem: str) -> dict[str, list[str]]:
    """Return the columns of a result table."""
    with (RESULTS / f"{stem}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def draw_parts(folder: Path) -> None:
    """Draw what features and readout explain, with intervals over images."""
    gains, ceiling = (
        columns("osie_features_times_readout"),
        columns("osie_gold_standard"),
    )
    if gains["image"] != ceiling["image"]:
        raise SystemExit("gains and gold standard are of other images")
    people, bias = (
        np.array(ceiling[name], float) for name in ("gold_standard", "center_bias")
    )
    gold = people - bias
    bars = []
    # Those of `--features` are there.
    for name in (name for name in PARTS if name in gains):
        own, title = np.array(gains[name], float), PARTS[name]
        interval = information_gain_explained_interval(own, gold)
        bars.append(Bar(title, information_gain_explained(own, gold), *interval))
    with style():
        save_figure(draw_bars(bars, is_share=True), folder, "features_times_readout")


def write_variants(path: Path) -> None:
    """Write the variants of training as the table of an ablation."""
    with (RESULTS / "osie_search.csv").open(newline="", encoding="utf-8") as file:
        gains = {
            row["variant"]: row["validation_information_gain"]
            for row in csv.DictReader(file)
        }
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("label", "ig"))
        writer.writerows((title, gains[variant]) for variant, title in TITLES.items())


def draw(words: list[str]) -> None:
    """Run `deepgaze figures`."""
    if code := deepgaze(["figures", str(RESULTS / "osie_evaluation.csv"), *words]):
        raise SystemExit(code)


def main() -> None:
    """Draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="for the figures with photographs")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="for these")
    arguments = parser.parse_args()
    if (arguments.data is None) != (arguments.photographs is None):
        parser.error("give both --data and --photographs, or none of them")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "variants.csv")
        write_variants(table)
        draw(["-o", folder, "--ablation", str(table)])
        kept = list(KEPT)
        if (RESULTS / "osie_features_times_readout.csv").exists():
            draw_parts(Path(folder))
            kept.append("features_times_readout")
        (ROOT / "docs/figures").mkdir(exist_ok=True)
        for stem in kept:
            picture = Path(folder, f"{stem}.png")
            (ROOT / "docs/figures" / picture.name).write_bytes(picture.read_bytes())
    if arguments.data is not None:
        words = ["-o", str(arguments.photographs), "--data", arguments.data]
        models = ["--model", "deepgaze2-osie-paper", "--against", "deepgaze1-osie"]
        draw([*words, *models])


if __name__ == "__main__":
    main()
