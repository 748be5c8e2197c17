"""ICF on a photograph of 768x1024: time after warm-up, against SciPy's Gaussians.

    python experiments/benchmarks/icf_speed.py --model icf-osie

All numbers come from one run on one machine: the whole prediction (features, readout,
blur, center bias, mixture of all folds, picture-sized density), the features alone,
and the same features by `scipy.ndimage.gaussian_filter1d` with the same taps, edges
and order, in float32. The two agree; the difference is printed. `--json FILE` keeps
the result.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy import ndimage

from deepgaze_jax.icf import RADIUS_PX, SCALES_PX, colour_components
from deepgaze_jax.ops import pool_max, pool_mean
from deepgaze_jax.prediction import load_pretrained


def scipy_features(image: np.ndarray) -> np.ndarray:
    """Return the maps of a picture by SciPy's filter, [rows, columns, 30]."""
    half = np.asarray(pool_mean(image, 2))
    planes = np.asarray(colour_components(half))

    def blur(plane: np.ndarray, sigma: float) -> np.ndarray:
        for axis in (0, 1):
            plane = ndimage.gaussian_filter1d(
                plane, sigma, axis, mode="nearest", radius=RADIUS_PX
            )
        return plane

    channels = []
    for c in range(3):
        plane = np.ascontiguousarray(planes[..., c])
        means = [blur(plane, sigma) for sigma in SCALES_PX]
        channels += means
        channels += [
            blur(np.square(plane - mean), sigma)
            for mean, sigma in zip(means, SCALES_PX, strict=True)
        ]
    return np.asarray(pool_max(np.stack(channels, axis=-1), 4))


def median_seconds(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the median time of calls after a first one, and what they return."""
    result, times = call(), []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def main() -> None:
    """Print all times and ratios as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="icf-osie")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    predictor = load_pretrained(arguments.model)
    # The model must see the picture itself, not an enlarged one.
    scale = predictor.image_scale() * (predictor.card["pixels_per_dva"] or 1)
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((768, 1024, 3)), (3, 3, 0))
    image = np.float32(255 * (smooth - smooth.min()) / np.ptp(smooth))

    def features() -> np.ndarray:
        return np.asarray(predictor.features(image, pixels_per_dva=scale))

    whole, _ = median_seconds(
        lambda: predictor.predict(image, pixels_per_dva=scale), arguments.repeats
    )
    ours, found = median_seconds(features, arguments.repeats)
    scipy, expected = median_seconds(lambda: scipy_features(image), 3)
    result = {
        "picture": [768, 1024],
        "predict_seconds": round(whole, 4),
        "features_seconds": round(ours, 4),
        "scipy_features_seconds": round(scipy, 4),
        "scipy_over_ours": round(scipy / ours, 1),
        "largest_difference": float(np.abs(found - expected).max()),
        "folds": predictor.n_folds,
        "machine": platform.machine(),
        "jax": jax.__version__,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
