"""Tables of scores as figures need them: per model, image by image."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.errors import DataError
from deepgaze_jax.evaluation.tables import companion, read_table

__all__ = ["GOLD", "Scores", "read_scores"]

#: What tables call the gold standard.
GOLD = "gold-standard"

# References, not models.
_REFERENCES = (GOLD, "joint", "uniform", "center-bias")


@dataclass(frozen=True, eq=False)
class Scores:
    """Information gains of several models on the same images.

    Attributes:
        ig: model -> image -> information gain, bits per fixation.
        baseline: what it is measured over.
        data: name of the data set.
        cards: model -> what it is, where the JSON beside the table says so.
        data_sha256: digest of the data set, or empty.
    """

    ig: dict[str, dict[str, float]]
    baseline: str
    data: str
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    data_sha256: str = ""

    @property
    def models(self) -> list[str]:
        """Names without references, the best first."""
        names = [name for name in self.ig if name not in _REFERENCES]
        return sorted(names, key=lambda name: -np.mean(list(self.ig[name].values())))

    @property
    def has_gold(self) -> bool:
        """Whether the gold standard is among the models."""
        return GOLD in self.ig

    def common(self, *models: str) -> tuple[list[str], np.ndarray]:
        """Returns the images that all of some models were scored on, and their gains.

        Args:
            models: names.

        Returns:
            Image names, and float64 [len(models), n_images].

        Raises:
            DataError: a model is not in the tables, or no image is common to all.
        """
        for model in models:
            if model not in self.ig:
                raise DataError(
                    f"the tables have no model {model!r}; they have "
                    f"{', '.join(self.ig)}"
                )
        first, *others = (self.ig[model] for model in models)
        images = [name for name in first if all(name in other for other in others)]
        if not images:
            raise DataError(
                f"no image was scored for all of {', '.join(models)}; evaluate them on "
                "the same data set"
            )
        gains = [[self.ig[model][image] for image in images] for model in models]
        return images, np.array(gains)


def read_scores(tables: Sequence[str | Path]) -> Scores:
    """Returns the information gains in one or several tables.

    Args:
        tables: from `deepgaze evaluate`, each with its JSON beside it.

    Raises:
        DataError: tables over different baselines or data, a model that is in two of
            them, or no information gain at all.
    """
    ig: dict[str, dict[str, float]] = {}
    cards: dict[str, dict[str, Any]] = {}
    seen: dict[str, Any] = {}
    for path in map(Path, tables):
        summary = _summary_beside(path)
        rows = read_table(path)
        if "ig" not in rows[0]:
            raise DataError(f"{path}: has no column ig; evaluate with that metric")
        alone = summary.get("model", {})
        only = alone.get("label") or alone.get("name") or path.stem
        models = summary.get("models") or {only: summary}
        own: dict[str, dict[str, float]] = {}
        for row in rows:
            if row["ig"] is not None:
                scores = own.setdefault(row.get("model", only), {})
                scores[row["image"]] = row["ig"]
        for name, scores in own.items():
            if name in ig:
                raise DataError(
                    f"{path}: model {name!r} is in an earlier table as well; give each "
                    "model once"
                )
            ig[name] = scores
            cards[name] = models.get(name, {}).get("model", {})
        over = summary.get("ig_over") or next(iter(models.values())).get("ig_over")
        facts = {"baselines": over, "data sets": summary.get("data")}
        for what, value in facts.items():
            if seen.setdefault(what, value) != value:
                raise DataError(
                    f"{path}: is over {value}, the first table over {seen[what]}: "
                    f"different {what} cannot be compared; evaluate them together"
                )
        seen.setdefault("sha256", summary.get("data_sha256", ""))
    if not ig:
        raise DataError("the tables have no scores; evaluate a model first")
    return Scores(
        ig=ig,
        baseline=seen["baselines"] or "baseline",
        data=seen["data sets"] or "",
        cards=cards,
        data_sha256=seen["sha256"],
    )


def _summary_beside(path: Path) -> dict[str, Any]:
    beside = companion(path)
    try:
        return dict(json.loads(beside.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DataError(
            f"{path}: has no {beside.name} beside it, which says what the scores are; "
            "copy it there"
        ) from None
    except (ValueError, TypeError) as error:
        raise DataError(f"{beside}: is not the JSON of an evaluation") from error
