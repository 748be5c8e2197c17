"""Fitted gold standards, kept for as long as the fixations are the same."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import InputError
from deepgaze_jax.files import make_folder, write_text
from deepgaze_jax.gold_standard import GoldStandard

__all__ = ["store_gold_standard", "stored_gold_standard"]

#: Counted up when the same fixations would be fitted otherwise.
_VERSION = 1


def stored_gold_standard(
    folder: str | Path, dataset: FixationDataset
) -> GoldStandard | None:
    """Returns the gold standard that was stored for a data set; None if there is none.

    Args:
        folder: of all of them; it need not exist.
        dataset: only its fixations, sizes of images and pixels_per_dva matter.
    """
    try:
        text = _path(folder, dataset).read_text(encoding="utf-8")
        return GoldStandard(**json.loads(text)["gold_standard"])
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None  # What cannot be read is fitted again.


def store_gold_standard(
    folder: str | Path, dataset: FixationDataset, gold: GoldStandard
) -> None:
    """Returns nothing; the gold standard of a data set is stored.

    Args:
        folder: of all of them.
        dataset: what it was fitted to, all images together.
        gold: from `fit_gold_standard`.
    """
    make_folder(folder)
    stored = {"data": dataset.name, "gold_standard": dataclasses.asdict(gold)}
    write_text(_path(folder, dataset), json.dumps(stored) + "\n")


def _path(folder: str | Path, dataset: FixationDataset) -> Path:
    fixations = dataset.fixations
    parts = [fixations.image, fixations.subject, fixations.x, fixations.y]
    parts += [dataset.image_sizes]
    if dataset.pixels_per_dva is not None:
        parts.append(dataset.pixels_per_dva)
    digest = hashlib.sha256(str(_VERSION).encode())
    for part in parts:
        digest.update(f"{part.dtype} {part.shape} ".encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    return Path(folder) / f"{digest.hexdigest()[:16]}.json"
