"""What the papers claim, and what the stored results on OSIE say about it.

    python experiments/osie/claims.py

Reads the scores of each image (`results/osie_{deepgaze2_paper,deepgaze1,icf,
gold_standard}.csv`), `osie_image_statistics.csv` (`image_statistics.py`),
`ablation.csv`, `osie_fine_tuning.json` and the cards of the shipped models. Writes
`results/osie_claims.json`, whose numbers README.md of the experiments states, and
`results/osie_claims_*.png`. All information gains of images are of test parts, over the
fold's center bias; those of variants are of validation parts. Intervals: bootstrap over
images, paired. Takes seconds.
"""

import csv
import json
from itertools import pairwise

import numpy as np
from _osie import RESULTS
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu, spearmanr

from deepgaze_jax.metrics import bootstrap_interval
from deepgaze_jax.model_files import load_model
from deepgaze_jax.summaries import (
    information_gain_explained,
    information_gain_explained_interval,
)

#: Stems of the scores; DeepGaze II is the one with the readout of the paper.
MODELS = {"deepgaze2": "deepgaze2_paper", "deepgaze1": "deepgaze1", "icf": "icf"}
# Information gain explained on MIT1003 (463 images, ten folds): arXiv 1610.01563.
PAPER_EXPLAINED = {"deepgaze2": 0.87, "deepgaze1": 0.56, "center_bias": 0.0}
# Kümmerer et al., ICCV 2017: ICF is better on these of the images of MIT1003.
PAPER_ICF_BETTER = {"n": 94, "of": 1003}


def read(stem: str) -> dict[str, np.ndarray]:
    """Return the columns of a result table, numbers as float64."""
    with (RESULTS / f"{stem}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {}
    for name in rows[0]:
        texts = [row[name] for row in rows]
        is_text = name in ("image", "factor", "level", "changes")
        columns[name] = np.array(texts) if is_text else np.array(texts, float)
    return columns


def spread(mean: float, interval: tuple[float, float]) -> dict[str, float]:
    """Return a mean and its interval for the file."""
    return {"mean": float(mean), "low": interval[0], "high": interval[1]}


def explained(gains: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    """Return the share of the gold standard's gain, with its interval."""
    return spread(
        information_gain_explained(gains, gold),
        information_gain_explained_interval(gains, gold),
    )


def order(gains: dict[str, np.ndarray], gold: np.ndarray) -> dict[str, object]:
    """Return what each model explains, and the distance to the next, with the paper."""
    all_gains = {**gains, "center_bias": np.zeros_like(gold)}
    names = sorted(all_gains, key=lambda name: -all_gains[name].mean())
    shares = {
        name: {
            "here": explained(all_gains[name], gold),
            "paper": PAPER_EXPLAINED.get(name),
        }
        for name in names
    }
    distances = []
    for better, worse in (*pairwise(names), ("deepgaze1", "center_bias")):
        gap = all_gains[better] - all_gains[worse]
        known = {better, worse} <= set(PAPER_EXPLAINED)
        distances.append(
            {
                "better": better,
                "worse": worse,
                "bits": spread(gap.mean(), bootstrap_interval(gap)),
                "share": explained(gap, gold),
                "paper_share": round(
                    PAPER_EXPLAINED[better] - PAPER_EXPLAINED[worse], 2
                )
                if known
                else None,
            }
        )
    return {"order": names, "explained": shares, "distances": distances}


def named(
    images: np.ndarray, gains: np.ndarray, which: np.ndarray
) -> dict[str, object]:
    """Return how many images, and each with its gain, the smallest first."""
    chosen = np.flatnonzero(which)
    chosen = chosen[np.argsort(gains[chosen])]
    return {
        "n": len(chosen),
        "images": {str(images[k]): float(gains[k]) for k in chosen},
    }


def comparison(
    images: np.ndarray, gap: np.ndarray, statistics: dict[str, np.ndarray]
) -> dict[str, object]:
    """Return on which images `gap` is above 0, and how these differ from the rest.

    Medians of both groups, Mann-Whitney's two-sided p, and over all images the rank
    correlation of a statistic with the gap.
    """
    ahead = gap > 0
    return named(images, gap, ahead) | {
        "of": len(images),
        "statistics": {
            name: {
                "median_of_these": float(np.median(values[ahead])),
                "median_of_the_others": float(np.median(values[~ahead])),
                "p": float(mannwhitneyu(values[ahead], values[~ahead]).pvalue),
                "rank_correlation_with_gap": float(spearmanr(values, gap)[0]),
            }
            for name, values in statistics.items()
        },
    }


def validation_gain(name: str) -> float:
    """Return the mean validation gain over the ten folds of a shipped model."""
    card = load_model(name)[1]
    return float(np.mean(card["scores"]["validation_information_gain"]))


def parts_of_the_model() -> dict[str, object]:
    """Return what features and depth of the readout are worth, where it was run."""
    table = read("ablation")
    gain = dict(zip(table["level"], table["validation_information_gain"], strict=True))
    deep, linear = gain["released"], gain["linear"]
    alexnet = validation_gain("deepgaze1-osie")
    depths = {
        level: {
            "validation": float(gain[level]),
            "training": float(table["train_information_gain"][k]),
            "low": float(table["low"][k]),
            "high": float(table["high"][k]),
            "alarms": int(table["alarms"][k]),
        }
        for k, level in enumerate(table["level"])
        if table["factor"][k] == "depth_and_width"
    }
    with (RESULTS / "osie_fine_tuning.json").open(encoding="utf-8") as file:
        tuned = json.load(file)["fine_tuning"]
    return {
        "validation_information_gain": {
            "VGG-19, deep": float(deep),
            "VGG-19, linear": float(linear),
            "AlexNet, linear (DeepGaze I)": alexnet,
            "intensity and contrast, deep (ICF)": validation_gain("icf-osie"),
        },
        "deep_minus_linear": float(deep - linear),
        "VGG_minus_AlexNet_linear": float(linear - alexnet),
        "VGG_minus_intensity_deep": float(deep - validation_gain("icf-osie")),
        "seeds_differ_by": float(abs(deep - gain["other seed"])),
        "depth_and_width": depths,
        "pretraining_gain": {
            str(one["n_images"]): one["more_than_from_the_start"] for one in tuned
        },
    }


def plot_order(result: dict[str, object]) -> Figure:
    """Return bars of what models explain, beside the paper's."""
    titles = {"deepgaze2": "DeepGaze II", "deepgaze1": "DeepGaze I", "icf": "ICF"}
    figure = Figure(figsize=(5, 2.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    for k, (name, title) in enumerate(titles.items()):
        shares = result["explained"][name]
        here = shares["here"]
        whiskers = [
            [100 * (here["mean"] - here["low"])],
            [100 * (here["high"] - here["mean"])],
        ]
        of_here = axes.barh(
            k - 0.2, 100 * here["mean"], 0.36, xerr=whiskers, color="C0"
        )
        if shares["paper"] is not None:
            of_paper = axes.barh(k + 0.2, 100 * shares["paper"], 0.36, color="0.75")
        axes.text(1, k - 0.2, title, va="center", color="white", fontsize=8)
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("information gain explained (%)")
    axes.legend(
        [of_here, of_paper], ["OSIE, here", "MIT1003, paper"], loc="lower right"
    )
    return figure


def plot_icf(
    images: np.ndarray,
    gains: dict[str, np.ndarray],
    statistics: dict[str, np.ndarray],
) -> Figure:
    """Return the paired plot of ICF and DeepGaze II, and two statistics."""
    figure = Figure(figsize=(10, 3.4), dpi=100, layout="constrained")
    left, *others = figure.subplots(1, 3)
    gap = gains["icf"] - gains["deepgaze2"]
    ahead = gap > 0
    left.plot([-2, 4], [-2, 4], color="0.5", linewidth=0.8)
    left.scatter(gains["deepgaze2"], gains["icf"], s=4, color="0.6")
    left.scatter(gains["deepgaze2"][ahead], gains["icf"][ahead], s=12, color="C3")
    # Names above the diagonal, where no dots are, the lower the further out.
    for row, k in enumerate(sorted(np.flatnonzero(ahead), key=gains["icf"].item)):
        at = gains["deepgaze2"][k], gains["icf"][k]
        name = str(images[k]).removesuffix(".jpg")
        line = {"arrowstyle": "-", "color": "C3", "linewidth": 0.5}
        left.annotate(name, at, (-1.9, row * 0.4), arrowprops=line, fontsize=6)
    left.set_xlabel("IG of DeepGaze II (bit/fixation)")
    left.set_ylabel("IG of ICF (bit/fixation)")
    shown = {
        "gold_standard_ig": "IG of the gold standard (bit/fixation)",
        "auc_of_contrast": "AUC of local contrast for fixations",
    }
    for axes, (name, title) in zip(others, shown.items(), strict=True):
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.scatter(statistics[name], gap, s=4, color="0.6")
        axes.scatter(statistics[name][ahead], gap[ahead], s=12, color="C3")
        axes.set_xlabel(title)
        axes.set_ylabel("IG of ICF minus DeepGaze II")
    return figure


def main() -> None:
    """Compare, write and draw."""
    tables = {name: read(f"osie_{stem}") for name, stem in MODELS.items()}
    gold_table = read("osie_gold_standard")
    images = gold_table["image"]
    statistics = read("osie_image_statistics")
    for name, table in {**tables, "statistics": statistics}.items():
        if not np.array_equal(table["image"], images):
            raise SystemExit(f"{name} is of other images; compute it again")
    statistics.pop("image")
    gold = gold_table["gold_standard"] - gold_table["center_bias"]
    statistics |= {
        "n_fixations": gold_table["n_fixations"],
        "gold_standard_ig": gold,
        "center_bias_ll": gold_table["center_bias"],
    }
    gains = {name: tables[name]["ig"] for name in MODELS}
    first = gains["deepgaze2"]
    result = {
        "data": "osie",
        "unit": "bits per fixation over the fold's center bias; shares of the gold "
        "standard's",
        **order(gains, gold),
        "negative_information_gain": {
            name: named(images, gain, gain < 0) for name, gain in gains.items()
        },
        "icf_beats_deepgaze2": {
            **comparison(images, gains["icf"] - first, statistics),
            "paper": PAPER_ICF_BETTER,
        },
        "deepgaze1_beats_deepgaze2": comparison(
            images, gains["deepgaze1"] - first, statistics
        ),
        "deepgaze2_beats_the_gold_standard": int((first > gold).sum()),
        "parts": parts_of_the_model(),
    }
    text = json.dumps(result, indent=1) + "\n"
    (RESULTS / "osie_claims.json").write_text(text, encoding="utf-8")
    plot_order(result).savefig(RESULTS / "osie_claims_explained.png")
    plot_icf(images, gains, statistics).savefig(RESULTS / "osie_claims_icf.png")


if __name__ == "__main__":
    main()
