"""Figures of scores: bars of models, images against images, ablations."""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepgaze_jax.errors import DataError
from deepgaze_jax.figures.score_tables import GOLD, Scores
from deepgaze_jax.figures.style import (
    COLUMN_WIDTH,
    TEXT_WIDTH,
    Look,
    looks,
    new_figure,
    pretty_name,
)
from deepgaze_jax.metrics import (
    bootstrap_interval,
    information_gain_explained,
    information_gain_explained_interval,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Bar", "draw_bars", "gold_against_models", "model_bars", "read_ablation"]

# Lines end where text begins.
_BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
_BAR_HEIGHT = 0.24  # Inches for each bar, its gap included.
_BARS_WIDTH = 2.4  # Inches at least for bars and numbers, where labels are long.


@dataclass(frozen=True)
class Bar:
    """One bar with its interval.

    Attributes:
        label: beside it.
        value: its length.
        low: lower end of the interval, or None.
        high: upper end.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None


def model_bars(scores: Scores, labels: dict[str, str] | None = None) -> "Figure":
    """Returns the figure of how much each model explains, the best one first.

    With a gold standard among the scores these are shares of its information gain,
    else bits per fixation. Whiskers are 95 % bootstrap intervals over images.

    Args:
        scores: of at least one model that is no reference.
        labels: names chosen by the author.

    Raises:
        DataError: there is no model.
        InputError: the gold standard is no better than the baseline.
    """
    models = scores.models
    if not models:
        raise DataError("the tables have only references; add a model")
    bars = []
    for model in models:
        name = pretty_name(model, labels)
        if scores.has_gold:
            _, (own, gold) = scores.common(model, GOLD)
            interval = information_gain_explained_interval(own, gold)
            bars.append(Bar(name, information_gain_explained(own, gold), *interval))
        else:
            _, (own,) = scores.common(model)
            bars.append(Bar(name, float(own.mean()), *bootstrap_interval(own)))
    return draw_bars(
        bars, is_share=scores.has_gold, colours=list(looks(models).values())
    )


def draw_bars(
    bars: Sequence[Bar], is_share: bool, colours: Sequence[Look] | None = None
) -> "Figure":
    """Returns a figure of horizontal bars, the first on top.

    Args:
        bars: what to draw.
        is_share: whether values are shares of the explainable information, drawn in
            per cent with a line at 100; else bits per fixation.
        colours: look of each bar; one quiet look for all if left out.
    """
    figure = new_figure(COLUMN_WIDTH, 0.45 + _BAR_HEIGHT * len(bars))
    axes = figure.add_subplot()
    scale = 100 if is_share else 1
    for k, bar in enumerate(bars):
        look = Look("#7d8fa3", "", "o") if colours is None else colours[k]
        axes.barh(
            k,
            scale * bar.value,
            height=0.68,
            color=look.colour,
            hatch=look.hatch,
            edgecolor="white" if look.hatch else look.colour,
            linewidth=0,
        )
        end = bar.value if bar.high is None else max(bar.value, bar.high)
        if bar.low is not None and bar.high is not None:
            reach = [[bar.value - bar.low], [bar.high - bar.value]]
            axes.errorbar(
                scale * bar.value,
                k,
                xerr=scale * np.maximum(reach, 0),
                color="black",
                elinewidth=0.8,
                capsize=2,
                capthick=0.8,
            )
        text = _per_cent(bar.value) if is_share else f"{bar.value:.2f}"
        axes.annotate(
            text.replace("-", "\N{MINUS SIGN}"),
            (scale * max(end, 0), k),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            bbox=_BEHIND_TEXT,
        )
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.tick_params(axis="y", length=0)
    with warnings.catch_warnings():
        # Letters that the font lacks are refused when the figure is saved.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        text = max(one.get_window_extent().width for one in axes.get_yticklabels())
    # Long labels may not take the room of the bars and of what is below them.
    width = text / figure.dpi + _BARS_WIDTH
    figure.set_figwidth(float(np.clip(width, COLUMN_WIDTH, TEXT_WIDTH)))
    axes.set_ylim(len(bars) - 0.45, -0.55)
    ends = [scale * (bar.value if bar.high is None else bar.high) for bar in bars]
    lowest = min([0, *(scale * (bar.low or bar.value) for bar in bars)])
    if is_share:
        axes.axvline(100, color="black", linestyle=(0, (4, 2)), linewidth=0.8)
        axes.set_xlabel("information gain explained (%)")
        axes.set_xlim(1.08 * lowest, max(106, 1.14 * max(ends)))
    else:
        axes.set_xlabel("information gain (bit/fixation)")
        axes.set_xlim(1.08 * lowest, 1.16 * max([*ends, 1e-3]))
    if lowest < 0:
        axes.axvline(0, color="black", linewidth=0.6)
    return figure


def gold_against_models(
    scores: Scores, labels: dict[str, str] | None = None
) -> "Figure":
    """Returns the figure of images: information gain of gold standard against models'.

    One panel per model, the best three; a dot is an image. The solid line is where a
    model explains everything, the dashed one its mean share.

    Args:
        scores: with a gold standard and at least one model.
        labels: names chosen by the author.

    Raises:
        DataError: the gold standard or a model is missing.
    """
    models = scores.models[:3]
    if not models:
        raise DataError("the tables have only references; add a model")
    columns = {model: scores.common(GOLD, model)[1] for model in models}
    joined = np.concatenate([one.ravel() for one in columns.values()])
    low, high = min(0.0, joined.min()), joined.max()
    margin = 0.04 * (high - low)
    limits = (low - margin, high + margin)
    width = COLUMN_WIDTH if len(models) == 1 else TEXT_WIDTH
    side = min(width / len(models), COLUMN_WIDTH)
    figure = new_figure(side * len(models), side + 0.1)
    for k, (model, (gold, own)) in enumerate(columns.items()):
        axes = figure.add_subplot(1, len(models), k + 1)
        _scatter(axes, gold, own, looks(models)[model], limits)
        axes.set_title(f"{pretty_name(model, labels)} (n = {len(own)} images)")
        axes.set_xlabel("gold standard (bit/fixation)")
        if k == 0:
            axes.set_ylabel("model (bit/fixation)")
    return figure


def _scatter(
    axes: "Axes",
    gold: np.ndarray,
    own: np.ndarray,
    look: Look,
    limits: tuple[float, float],
) -> None:
    axes.plot(limits, limits, color="black", linewidth=0.8, zorder=1)
    share = float(own.mean() / gold.mean())
    ends = np.array([max(limits[0], 0.0), limits[1]])
    axes.plot(ends, share * ends, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    axes.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    axes.axvline(0, color="0.6", linewidth=0.5, zorder=0)
    axes.scatter(
        gold,
        own,
        s=7,
        marker=look.marker,
        facecolors="none",
        edgecolors=look.colour,
        linewidths=0.5,
        alpha=0.75,
        zorder=2,
    )
    axes.annotate(
        f"{_per_cent(share)} explained".replace("-", "\N{MINUS SIGN}"),
        # Few models are far better than the gold standard: no point is hidden.
        (0.03, 0.97),
        xycoords="axes fraction",
        va="top",
        fontsize=7,
        bbox=_BEHIND_TEXT,
    )
    axes.set(xlim=limits, ylim=limits, aspect="equal")


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %"


def read_ablation(path: str | Path) -> tuple[list[Bar], bool]:
    """Returns the bars of an ablation, and whether they are shares.

    Args:
        path: CSV with the columns label, ig_explained (0 to 1) or ig (bits), and
            perhaps low and high, in the order in which the bars are to stand.

    Raises:
        DataError: not such a table.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        columns = set(rows[0]) if rows else set()
        value = next(name for name in ("ig_explained", "ig") if name in columns)
        bars = [
            Bar(row["label"], float(row[value]), _end(row, "low"), _end(row, "high"))
            for row in rows
        ]
    except (StopIteration, KeyError, ValueError, TypeError, csv.Error) as error:
        raise DataError(
            f"{path}: is no table of an ablation; expected the columns label, "
            "ig_explained or ig, and perhaps low and high"
        ) from error
    return bars, value == "ig_explained"


def _end(row: dict[str, Any], name: str) -> float | None:
    return float(row[name]) if row.get(name) else None
