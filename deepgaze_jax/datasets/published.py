"""What a data set has as its authors publish it, compared with what was found."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.wording import counted, some
from deepgaze_jax.errors import DataError

__all__ = ["Published", "compare", "published_line"]


@dataclass(frozen=True)
class Published:
    """Counts and sizes of a published data set.

    Attributes:
        images: number of images with fixations in each split; `train` where the
            authors define none.
        size: (height, width) of all images, or None where they differ.
        longest_side: of all images in pixels, or None where it differs.
        subjects: number of subjects, or None where they are not told apart.
        rows: number of fixations as everybody who compares counts them, or None.
        unseen: number of images in splits whose fixations are held back; they may be
            there or not.
    """

    images: Mapping[str, int]
    size: tuple[int, int] | None = None
    longest_side: int | None = None
    subjects: int | None = None
    rows: int | None = None
    unseen: Mapping[str, int] = field(default_factory=dict)


def compare(
    recording: Recording, published: Published, where: str, allow_part: bool = False
) -> dict[str, Any]:
    """Returns counts found and published, for the metadata.

    Args:
        recording: as a reader found it.
        published: what there should be.
        where: how messages call it.
        allow_part: accept fewer images and subjects than were published.

    Raises:
        DataError: other images, or (unless `allow_part`) a part of them.

    Example:
        >>> from deepgaze_jax.datasets import readers
        >>> toy = readers.read("toy_gaze", n_images=2)
        >>> compare(toy, Published({"train": 3}), "a")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: a: found 2 images, published are 3; add \
the others, or accept a part of them: --allow-part
        >>> compare(toy, Published({"train": 3}), "a", allow_part=True)["complete"]
        False
    """
    if other := _other_sizes(recording, published):
        raise DataError(
            f"{where}: {other}; these are other images: give those of the data set, or "
            "build them under their own name (deepgaze data build fixations_folder)"
        )
    counts = Counter(split or "train" for split in recording.splits or ())
    counts = dict(counts) or {"train": len(recording.image_names)}
    n_subjects = len(np.unique(recording.fixations.subject))
    differ = []
    expected = {**published.images, **published.unseen}
    for split in dict.fromkeys((*published.images, *counts)):
        found, there = counts.get(split, 0), expected.get(split, 0)
        if found != there:
            of_split = f" ({split})" if len(published.images) > 1 else ""
            differ.append((found, there, "image", of_split))
    if published.subjects not in (None, n_subjects):
        differ.append((n_subjects, published.subjects, "subject", ""))
    words = "; ".join(
        f"found {counted(n, what)}{of_split}, published are {m:,}"
        for n, m, what, of_split in differ
    )
    if any(found > there for found, there, *_ in differ):
        raise DataError(f"{where}: {words}; leave out what is not of the data set")
    if differ and not allow_part:
        raise DataError(
            f"{where}: {words}; add the others, or accept a part of them: --allow-part"
        )
    return {
        "complete": not differ,
        "found": {"images": counts, "subjects": n_subjects},
        "published": {
            "images": dict(published.images),
            "subjects": published.subjects,
            "rows": published.rows,
        },
    }


def published_line(meta: Mapping[str, Any]) -> str:
    """Returns a line that compares a built data set with the published one.

    Args:
        meta: what was noted when it was built; the line is empty for other data sets.

    Example:
        >>> counts = {"images": {"train": 700}, "subjects": 15, "rows": 98321}
        >>> published_line({"n_rows": 98321, "published": {
        ...     "complete": True, "found": counts, "published": counts}})
        'all 700 images, 15 subjects; 98,321 rows, as published'
    """
    counts = meta.get("published")
    if not counts:
        return ""
    found, there = counts["found"], counts["published"]
    n, m = sum(found["images"].values()), sum(there["images"].values())
    if not counts["complete"]:
        line = f"a part, {n:,} of {m:,} images"
        if there["subjects"]:
            line += f", {found['subjects']} of {there['subjects']} subjects"
        return line
    line = f"all {n:,} images"
    if there["subjects"]:
        line += f", {there['subjects']} subjects"
    if there["rows"]:
        same = meta["n_rows"] == there["rows"]
        line += f"; {meta['n_rows']:,} rows, "
        line += "as published" if same else f"published are {there['rows']:,}"
    return line


def _other_sizes(recording: Recording, published: Published) -> str:
    """Returns what is wrong with the sizes of images; empty where nothing is."""
    sizes = recording.image_sizes
    known = (sizes > 0).all(axis=1)
    expected, wrong = "", np.zeros(len(sizes), bool)
    if published.size is not None:
        wrong = known & (sizes != published.size).any(axis=1)
        expected = f"{published.size[1]} x {published.size[0]} pixels"
    elif published.longest_side is not None:
        wrong = known & (sizes.max(axis=1) != published.longest_side)
        expected = f"a longest side of {published.longest_side} pixels"
    if not wrong.any():
        return ""
    shown = [
        f"{recording.image_names[i]} {sizes[i, 1]} x {sizes[i, 0]}"
        for i in np.flatnonzero(wrong)
    ]
    return (
        f"published images have {expected}, found are {len(shown)} of another size: "
        f"{some(shown)}"
    )
