"""What the default readout of DeepGaze II costs in a prediction, against the paper's.

    python experiments/benchmarks/readout_speed.py -o readout_speed.json

`deepgaze2-osie` has 48 units behind the features, `deepgaze2-osie-paper` 16. Both
predict the same pictures in turns, in one process, from an array to a log density;
medians of the times, and of the ratios of neighbouring turns. About a minute on 2
cores; needs VGG-19.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from predict_speed import picture

from deepgaze_jax import load_pretrained

SIZES = ((384, 512), (768, 1024), (1500, 2000))
MODELS = ("deepgaze2-osie", "deepgaze2-osie-paper")


def measure(height: int, width: int, repeats: int) -> dict[str, Any]:
    """Return the seconds of both models for a picture, and their ratio."""
    image = picture(height, width)
    predictors = [load_pretrained(name) for name in MODELS]
    times: list[list[float]] = []
    for turn in range(repeats + 1):
        own = []
        for predictor in predictors:
            start = time.perf_counter()
            predictor.predict(image)
            own.append(time.perf_counter() - start)
        if turn:  # The first compiles.
            times.append(own)
    medians = (round(statistics.median(t), 3) for t in zip(*times, strict=True))
    return {
        "height": height,
        "width": width,
        "seconds": dict(zip(MODELS, medians, strict=True)),
        "ratio": round(statistics.median(a / b for a, b in times), 3),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    found = [measure(*size, arguments.repeats) for size in SIZES]
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
