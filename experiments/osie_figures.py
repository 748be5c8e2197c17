"""The figures of scores in README.md, from `osie_evaluation.py` and `osie_search.py`.

    python experiments/osie_figures.py

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

KEPT = ("ig_explained", "gold_against_models", "ablation")


def write_variants(path: Path) -> None:
    """Write the variants of training as the table of an ablation."""
    with (RESULTS / "osie_search.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("label", "ig"))
        for row in rows:
            writer.writerow((row["variant"], row["validation_information_gain"]))


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
