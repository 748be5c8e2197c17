"""What float16 features change: scores of the released readout on OSIE.

    python experiments/osie/float16.py --data ../shared/data/osie

Scores the test parts with features rounded to float16 before the readout, and prints
how much the information gain of each image changes (bits/fixation). Needs the float32
feature cache that `deepgaze2_paper.py` leaves. Time on 2 cores: about 2 minutes.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.evaluation import evaluate, find_cache
from deepgaze_jax.prediction import load_pretrained


class Rounded:
    """A feature cache whose maps have been through float16."""

    def __init__(self, cache):
        """Wrap a float32 cache."""
        self.rgb_sha256 = cache.rgb_sha256
        self._cache = cache

    def read(self, images, taps):
        """Return features as the cache does, rounded."""
        return self._cache.read(images, taps).astype(np.float16).astype(np.float32)


def main() -> None:
    """Print and write the effect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "-o", "--output", default="experiments/results/osie_float16.json"
    )
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    predictor = load_pretrained("deepgaze2")
    cache = find_cache(predictor, dataset)
    if cache is None:
        raise SystemExit(
            "there is no feature cache; run experiments/osie/deepgaze2_paper.py first"
        )
    exact, rounded = (
        {
            row.image: row.scores["ig"]
            for row in evaluate(predictor, dataset, cache=features).models[0].rows
        }
        for features in (cache, Rounded(cache))
    )
    change = np.array([rounded[image] - ig for image, ig in exact.items()])
    result = {
        "mean_change_of_information_gain": float(change.mean()),
        "largest_change_of_an_image": float(np.abs(change).max()),
    }
    print(json.dumps(result))
    Path(arguments.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
