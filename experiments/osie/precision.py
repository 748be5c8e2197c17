"""What less exact products in VGG-19 change: log densities and scores on OSIE.

    python experiments/osie/precision.py --data ../shared/data/osie_mini

Predicts every image with features from float32 and from bfloat16 products (sums are
float32 in both), and compares densities and information gain over the center bias. Each
image is scored by the fold that has not seen it, the mixture otherwise. On a CPU the
products are those that an accelerator has, only slow: about a second each on 2 cores.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from _osie import RESULTS

from deepgaze_jax import load_pretrained, read_folder


def main() -> None:
    """Print and write the effect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "-o", "--output", type=Path, default=RESULTS / "osie_precision.json"
    )
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    exact, rounded = (
        load_pretrained("deepgaze2", feature_precision=precision)
        for precision in ("float32", "bfloat16")
    )
    largest, typical, gains, changes = [], [], [], []
    for image in range(len(dataset)):
        picture = dataset.image(image)
        fold = exact.fold_for(picture, "auto")
        a, b = (model.predict_picture(picture, fold=fold) for model in (exact, rounded))
        baseline = exact.center_bias_log_density(a.shape, fold=fold)
        own = dataset.fixations.of_images(image)
        at = own.y.astype(int), own.x.astype(int)
        largest.append(np.abs(a - b).max())
        typical.append(np.abs(a - b).mean())
        gains.append((a[at] - baseline[at]).mean() / np.log(2))
        changes.append((b[at] - a[at]).mean() / np.log(2))
    result = {
        "images": len(dataset),
        "information_gain_float32": float(np.mean(gains)),
        "mean_change_of_information_gain": float(np.mean(changes)),
        "largest_change_of_an_image": float(np.abs(changes).max()),
        "log_density_mean_difference": float(np.mean(typical)),
        "log_density_largest_difference": float(np.max(largest)),
    }
    print(json.dumps(result, indent=2))
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
