"""The table of results in README.md, from the scores of each image.

    python experiments/osie/table.py

Reads `results/osie_{deepgaze2,deepgaze2_paper,deepgaze1,icf}.csv`; every model was
scored on the same images by the fold that had not seen them, over the same center
biases. The last column is paired: bootstrap of the difference, image by image, to the
model of the next line. Takes a second.
"""

import csv
from collections.abc import Mapping

import numpy as np
from _osie import RESULTS, ROOT

from deepgaze_jax.metrics import bootstrap_interval

MODELS = {
    "DeepGaze II (`deepgaze2-osie`)": "osie_deepgaze2",
    "the paper's readout (`deepgaze2-osie-paper`)": "osie_deepgaze2_paper",
    "DeepGaze I (`deepgaze1-osie`)": "osie_deepgaze1",
    "ICF (`icf-osie`)": "osie_icf",
}
MARKS = ("<!-- results:begin -->\n", "<!-- results:end -->")
HEAD = (
    "| model | LL | IG over center bias | 95 % interval | IG, per-fixation mean | "
    "IG minus next line's, paired |\n|---|---|---|---|---|---|\n"
)


def scores(stem: str) -> dict[str, np.ndarray]:
    """Return the columns of a table of scores."""
    with (RESULTS / f"{stem}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return columns | {
        name: columns[name].astype(float) for name in ("n_fixations", "ll", "ig")
    }


def interval(values: np.ndarray) -> str:
    """Return the 95 % bootstrap interval of a mean as text."""
    low, high = bootstrap_interval(values)
    return f"{low:.3f} to {high:.3f}"


def line(title: str, own: Mapping[str, np.ndarray], below: np.ndarray) -> str:
    """Return a model's line; `below` is the information gain of the next model."""
    ig, share = own["ig"], own["n_fixations"] / own["n_fixations"].sum()
    gap = f"{(ig - below).mean():.3f} ({interval(ig - below)})"
    return (
        f"| {title} | {own['ll'].mean():.3f} | **{ig.mean():.3f}** | {interval(ig)} | "
        f"{(ig * share).sum():.3f} | {gap} |\n"
    )


def table() -> str:
    """Return the table as Markdown, best model first."""
    found = {title: scores(stem) for title, stem in MODELS.items()}
    titles = sorted(found, key=lambda title: -found[title]["ig"].mean())
    first = found[titles[0]]
    for title in titles:
        if not np.array_equal(found[title]["image"], first["image"]):
            raise SystemExit(f"{title} was scored on other images; score it again")
        baseline = found[title]["ll"] - found[title]["ig"]
        if not np.allclose(baseline, first["ll"] - first["ig"], atol=1e-6):
            raise SystemExit(f"{title} has other center biases; train it again")
    text = HEAD
    for title, next_title in zip(titles, [*titles[1:], None], strict=True):
        below = found[next_title]["ig"] if next_title else np.zeros_like(first["ig"])
        text += line(title, found[title], below)
    bias = (first["ll"] - first["ig"]).mean()
    return text + f"| center bias | {bias:.3f} | 0 |  | 0.000 |  |\n"


def main() -> None:
    """Write the table into README.md."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = readme.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    text = before + MARKS[0] + table() + MARKS[1] + after
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    print(table(), end="")


if __name__ == "__main__":
    main()
