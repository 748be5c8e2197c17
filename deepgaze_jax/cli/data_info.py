"""`deepgaze data info`: what a data set holds."""

import json as json_format
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from deepgaze_jax.center_bias import fit_center_bias
from deepgaze_jax.cli.messages import UsageError, say
from deepgaze_jax.datasets.contact_sheet import (
    SHEET_FORMATS,
    contact_sheet,
    write_contact_sheet,
)
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.gold_standard_store import (
    store_gold_standard,
    stored_gold_standard,
)
from deepgaze_jax.datasets.home import registered_names
from deepgaze_jax.datasets.opening import read_dataset, read_meta
from deepgaze_jax.datasets.published import published_line
from deepgaze_jax.errors import DataError
from deepgaze_jax.files import make_folder
from deepgaze_jax.gold_standard import GoldStandard
from deepgaze_jax.gold_standard_fit import fit_gold_standard
from deepgaze_jax.weights import cache_dir

__all__ = ["info", "write_sheet"]

#: Images that the time of a fit is estimated from; for fewer than twice as many there
#: is nothing to estimate.
_SAMPLE = 16


def info(
    data: Annotated[
        str | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="DATA", help_behavior_hint=""),
    ] = None,
    /,
    output: Annotated[
        Path | None,
        tyro.conf.arg(aliases=["-o"], metavar="SHEET.png", help_behavior_hint=""),
    ] = None,
    gold_standard: bool = False,
    json: bool = False,
) -> int:
    """Say what a data set holds; without a name, list the data sets.

    Args:
        data: Name (NAME:SPLIT of built ones), or folder with images/
            and fixations.csv.
        output: Picture to be written (PNG or JPEG): some images with their
            fixations.
        gold_standard: Fit the gold standard (how well the other people's fixations
            predict a person's) if that has not been done; says first how
            long it takes. It is kept and shown from then on.
        json: Print a JSON object.
    """
    if output is not None:
        _check_sheet(output, data)
    if data is None:
        if gold_standard:
            raise UsageError("--gold-standard needs DATA, the data set to be fitted")
        print("\n".join(registered_names()) or "no data sets yet: deepgaze data import")
        return 0
    dataset = read_dataset(data, allow_missing_images=True)
    if output is not None:
        if output.resolve().is_relative_to((dataset.root / "images").resolve()):
            raise UsageError(
                f"{output}: lies among the pictures of {data}; choose another"
            )
        make_folder(output.parent)
    gold = _gold_standard(dataset, fit=gold_standard)
    found = _summary(dataset, read_meta(data), gold)
    if json:
        print(json_format.dumps(found))
    else:
        for key, value in found.items():
            if value not in (None, "", []):
                shown = "; ".join(value) if isinstance(value, list) else value
                print(f"{key.replace('_', ' '):24}{shown}")
    if output is not None:
        write_sheet(output, dataset)
        if not json:
            print(output)
    return 0


def write_sheet(path: Path, dataset: FixationDataset) -> None:
    """Write a picture of some images of a data set with their fixations."""
    sheet = contact_sheet(
        dataset.image_names,
        dataset.image_sizes,
        dataset.pictures.read_bytes,
        dataset.fixations,
    )
    write_contact_sheet(path, sheet)


def _check_sheet(path: Path, data: str | None) -> None:
    """Refuse what no picture can be written to, before anything is done."""
    if data is None:
        raise UsageError("-o needs DATA, the data set whose images are to be shown")
    if path.suffix.lower() not in SHEET_FORMATS:
        raise UsageError(
            f"-o {path}: is no picture's name; let it end in "
            f"{' or '.join(SHEET_FORMATS)}"
        )
    if path.is_dir():
        raise UsageError(f"-o {path}: is a folder; name a file in it")


def _summary(
    dataset: FixationDataset, meta: dict[str, Any], gold: GoldStandard | None
) -> dict[str, Any]:
    """Returns what `info` prints."""
    fixations = dataset.fixations
    sizes, counts = np.unique(dataset.image_sizes, axis=0, return_counts=True)
    order = np.argsort(-counts)[:4]
    shown = [f"{sizes[i][1]} x {sizes[i][0]} ({counts[i]})" for i in order]
    if len(sizes) > 4:
        shown.append(f"and {len(sizes) - 4} more")
    per_subject = np.bincount(fixations.subject, minlength=len(dataset.subject_names))
    n_missing = sum(not dataset.pictures.has(i) for i in range(len(dataset)))
    scale = dataset.pixels_per_dva
    try:
        bias = fit_center_bias(fixations, dataset.image_sizes).log_likelihood
    except DataError:
        bias = None  # Fewer than two images with fixations.
    return {
        "name": dataset.name,
        "folder": str(dataset.root),
        "images": len(dataset),
        "images_without_picture": n_missing or None,
        "sizes": shown,
        "subjects": len(dataset.subject_names),
        meta.get("kind", "fixations").replace(" ", "_"): len(fixations),
        "per_subject": _span(per_subject.min(), per_subject.max(), "d"),
        "pixels_per_dva": None if scale is None else _span(scale.min(), scale.max()),
        "center_bias_LL": None
        if bias is None
        else f"{bias:.3f} bit/fixation over uniform (leave one image out)",
        "gold_standard_LL": None
        if gold is None
        else f"{gold.log_likelihood:.3f} bit/fixation over uniform (leave one subject "
        f"out; bandwidth {_bandwidth(gold)})",
        "format": meta.get("format"),
        "edition": meta.get("edition"),
        "published": published_line(meta),
        "licence": meta.get("licence"),
        "cite": meta.get("citation"),
        "dropped": [f"{k}: {v}" for k, v in meta.get("dropped", {}).items()],
        "conventions": list(meta.get("conventions", [])),
    }


def _gold_standard(dataset: FixationDataset, *, fit: bool) -> GoldStandard | None:
    """Return the gold standard of all images, if it is known or is to be fitted."""
    folder = cache_dir() / "gold_standards"
    gold = stored_gold_standard(folder, dataset)
    if gold is None and fit:
        say(f"fitting the gold standard: about {_duration(dataset)}")
        gold = _fit(dataset, np.arange(len(dataset)))
        store_gold_standard(folder, dataset, gold)
    return gold


def _fit(dataset: FixationDataset, images: np.ndarray) -> GoldStandard:
    return fit_gold_standard(
        dataset.fixations,
        dataset.image_sizes,
        images,
        pixels_per_dva=dataset.pixels_per_dva,
    )


def _duration(dataset: FixationDataset) -> str:
    """Return how long a fit takes, from fits to a few of the images."""
    n_fixations = np.bincount(dataset.fixations.image, minlength=len(dataset))
    looked_at = np.flatnonzero(n_fixations)
    seconds = 0.0
    if len(looked_at) > 2 * _SAMPLE:
        sample = looked_at[:: len(looked_at) // _SAMPLE][:_SAMPLE]
        _fit(dataset, sample)  # Compiles what is compiled.
        start = time.perf_counter()
        _fit(dataset, sample)
        # Each fixation is compared with all others on its image.
        work = np.square(n_fixations.astype(float))
        seconds = (time.perf_counter() - start) * work.sum() / work[sample].sum()
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes > 1 else "a minute" if minutes else "seconds"


def _span(low: float, high: float, form: str = "g") -> str:
    return f"{low:{form}}" + (f" to {high:{form}}" if low < high else "")


def _bandwidth(gold: GoldStandard) -> str:
    if gold.bandwidth_px is not None:
        return f"{gold.bandwidth_px:.1f} px"
    return f"{gold.bandwidth_dva:.2f} degrees"
