"""What each step of a prediction costs, and the bytes of each format, per photograph.

    python experiments/benchmarks/stage_costs.py --data osie -o stage_costs.json

One photograph after another in one process, without anything beside it: seconds by the
clock and of all cores together (those of the process), the median over photographs
after a first one of the same size. What a run over a folder costs is the sum of the
latter, whatever waits for what. 32 photographs by two models take two minutes on two
cores.
"""

import argparse
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from deepgaze_jax.datasets.opening import read_dataset
from deepgaze_jax.files import write_text
from deepgaze_jax.images import load_image
from deepgaze_jax.many_images.density_file import DensityFile
from deepgaze_jax.many_images.settings import Settings
from deepgaze_jax.many_images.targets import plan_targets
from deepgaze_jax.plotting import overlay
from deepgaze_jax.prediction import load_pretrained


class Costs:
    """Seconds of every step, of every photograph."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[tuple[float, float]]] = {}

    def __call__(self, step: str, call: Callable[[], Any]) -> Any:
        """Return what a call returns, and note how long it takes."""
        clock, cores = time.perf_counter(), time.process_time()
        result = jax.block_until_ready(call())
        taken = time.perf_counter() - clock, time.process_time() - cores
        self._seconds.setdefault(step, []).append(taken)
        return result

    def medians(self) -> dict[str, dict[str, float]]:
        """Return the medians of each step, without the first photograph."""
        return {
            step: {
                kind: round(statistics.median(one[k] for one in taken[1:]), 4)
                for k, kind in enumerate(("seconds", "core_seconds"))
            }
            for step, taken in self._seconds.items()
        }


def as_png(drawing: np.ndarray) -> bytes:
    """Return a drawing as `write_png` would write it."""
    file = io.BytesIO()
    Image.fromarray(drawing).save(file, format="PNG", compress_level=2)
    return file.getvalue()


def h5_bytes(log_densities: list[np.ndarray], float16: bool) -> float:
    """Return the bytes a density takes in the one HDF5 file."""
    names = [Path(f"{k:06}.jpg") for k in range(len(log_densities))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log_densities.h5")
        file = DensityFile(path, Settings(float16=float16), {})
        targets = plan_targets(names, Path(folder))
        for target, log_density in zip(targets, log_densities, strict=True):
            file.write(target, log_density, log_density)
        file.commit([(target, (0, 0)) for target in targets])
        file.close()
        return path.stat().st_size / len(log_densities)


def measured(model: str, paths: list[Path]) -> dict[str, Any]:
    """Return costs and bytes of a model, per photograph."""
    predictor, costs = load_pretrained(model), Costs()
    log_densities, n_bytes = [], {"photograph": 0, "png": 0}
    for path in paths:
        picture = costs("read and decode", lambda path=path: load_image(path))
        log_density = costs(
            "network and density",
            lambda picture=picture: predictor.predict_picture(picture),
        )
        drawing = costs(
            "draw the overlay",
            lambda p=picture, d=log_density: overlay(np.rint(p).astype(np.uint8), d),
        )
        png = costs("compress the overlay", lambda d=drawing: as_png(d))
        log_densities.append(log_density)
        n_bytes["photograph"] += path.stat().st_size
        n_bytes["png"] += len(png)
    n_bytes = {kind: round(value / len(paths)) for kind, value in n_bytes.items()}
    n_bytes["npy"] = 128 + log_densities[0].nbytes
    n_bytes["npy, float16"] = 128 + log_densities[0].nbytes // 2
    n_bytes["h5"] = round(h5_bytes(log_densities, False))
    n_bytes["h5, float16"] = round(h5_bytes(log_densities, True))
    return {"steps": costs.medians(), "bytes": n_bytes}


def main() -> None:
    """Write all figures as one JSON object, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--models", nargs="+", default=["icf", "deepgaze2"])
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    data = read_dataset(arguments.data)
    # All of one size, and not the first ones only.
    sizes = data.image_sizes.tolist()
    same = [k for k, size in enumerate(sizes) if size == sizes[0]]
    chosen = same[:: max(1, len(same) // arguments.n)][: arguments.n]
    paths = [data.image_path(k) for k in chosen]
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "backend": jax.default_backend(),
        "height": sizes[0][0],
        "width": sizes[0][1],
        "photographs": len(paths),
        "models": {name: measured(name, paths) for name in arguments.models},
    }
    text = json.dumps(result, indent=2) + "\n"
    write_text(arguments.output, text)
    print(text, end="")


if __name__ == "__main__":
    main()
