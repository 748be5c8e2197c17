"""The figures of scores in README.md, from `evaluation.py` and `search.py`.

    python experiments/osie/figures.py

Draws information gain explained by each model, images under gold standard and models,
and the variants of training that were compared (validation parts of three folds), as
PNG in `docs/figures/`. Takes a few seconds. The figures with
photographs need the data set: `deepgaze figures ... --data ../shared/data/osie`.
"""

import csv
import tempfile
from pathlib import Path

from _osie import RESULTS, ROOT

from deepgaze_jax.cli import main as deepgaze

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


def main() -> None:
    """Draw the figures."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "variants.csv")
        write_variants(table)
        words = [str(RESULTS / "osie_evaluation.csv"), "-o", folder]
        if code := deepgaze(["figures", *words, "--ablation", str(table)]):
            raise SystemExit(code)
        (ROOT / "docs/figures").mkdir(exist_ok=True)
        for stem in KEPT:
            picture = Path(folder, f"{stem}.png")
            (ROOT / "docs/figures" / picture.name).write_bytes(picture.read_bytes())


if __name__ == "__main__":
    main()
