"""AUC and sAUC of a data set against the same formula written fixation by fixation.

    python experiments/benchmarks/auc_speed.py --data ../shared/data/osie

The rival is what one writes from the definition: for each fixation, NumPy compares its
value with all negatives. Both get the same maps (gold standard densities of the images,
float32 logarithms) and must agree to 1e-12. They take turns image by image, three times
each, and the least processor time of each counts: other work on the machine only adds.
Choosing an image's negatives is part of the time of both, making the maps of neither.
About two minutes for 100 images spread over the data set (--images); the fixations of
all images are negatives.
"""

import argparse
import json
import platform
import time
from functools import partial
from pathlib import Path

import numpy as np

from deepgaze_jax.center_bias import fit_center_bias, resample_log_density
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.gold_standard import GoldStandard, gold_standard_log_density
from deepgaze_jax.metrics import OtherFixations, auc, sauc

# Near what a fit on OSIE gives; only the kind of map matters here.
GOLD = GoldStandard(15.0, None, 0.076, 0.006, 0.0, 700)


def plain_auc(values: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return the AUC of each value against the negatives, one value after another."""
    return np.array(
        [np.mean((negatives < value) + 0.5 * (negatives == value)) for value in values]
    )


def main() -> None:
    """Print the ratios and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("-o", "--output", default="experiments/results/auc_speed.json")
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    fixations, sizes = dataset.fixations, dataset.image_sizes
    center_bias = fit_center_bias(fixations, sizes).log_density
    n_images = min(arguments.images, len(dataset))
    images = np.linspace(0, len(dataset) - 1, n_images).astype(int)
    if len(np.unique(sizes, axis=0)) > 1:
        raise SystemExit("the rival is written for images of one size")
    height, width = map(int, sizes[0])
    pixel_y, pixel_x = fixations.y.astype(int), fixations.x.astype(int)
    others = OtherFixations(fixations, sizes)
    seconds = dict.fromkeys(("auc", "plain_auc", "sauc", "plain_sauc"), 0.0)
    for image in images:
        own = fixations.of_images(image)
        baseline = resample_log_density(center_bias, height, width)
        log_density = gold_standard_log_density(GOLD, own, baseline)
        log_density = log_density.astype(np.float32)
        own_x, own_y = own.x.astype(int), own.y.astype(int)

        def plain_sauc(
            log_density=log_density, image=image, own_x=own_x, own_y=own_y
        ) -> np.ndarray:
            elsewhere = fixations.image != image
            negatives = log_density[pixel_y[elsewhere], pixel_x[elsewhere]]
            return plain_auc(log_density[own_y, own_x], negatives)

        ways = {
            "auc": partial(auc, log_density, own.x, own.y),
            "plain_auc": partial(
                plain_auc, log_density[own_y, own_x], log_density.ravel()
            ),
            "sauc": partial(sauc, log_density, own.x, own.y, others, image),
            "plain_sauc": plain_sauc,
        }
        results, times = {}, {name: [] for name in ways}
        for _ in range(3):
            for name, way in ways.items():
                start = time.process_time()
                results[name] = way()
                times[name].append(time.process_time() - start)
        for name in ways:
            seconds[name] += min(times[name])
        for name in ("auc", "sauc"):
            difference = np.abs(results[name] - results[f"plain_{name}"])
            assert difference.max() < 1e-12, f"{name} differs by {difference.max()}"
    result = {
        "machine": platform.machine(),
        "numpy": np.__version__,
        "data": dataset.name,
        "images": n_images,
        "pixels": height * width,
        "fixations": len(fixations),
        "milliseconds_per_image": {
            name: round(1000 * value / n_images, 3) for name, value in seconds.items()
        },
        "plain_over_auc": round(seconds["plain_auc"] / seconds["auc"], 1),
        "plain_over_sauc": round(seconds["plain_sauc"] / seconds["sauc"], 1),
    }
    for name, value in result.items():
        print(f"{name:24s} {value}")
    Path(arguments.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
