"""Epoch time of ten folds against the multiply-add floor and against ten solo runs.

    python experiments/benchmarks/ten_folds.py --data ../shared/data/osie

All numbers come from one run on one machine. The floor counts the multiply-adds that
no implementation can leave out (readout forward and weight gradients, for the images
that each fold trains on) at the rate of a 2048 x 2048 x 2048 float32 product. Solo
runs use the same code with one fold each; some of the ten are timed and scaled. Parts
of the images (`--shares`) show how an epoch grows with their number. Features are
cached first (those of a part are copied from the cache of all): that is not timed.
"""

import argparse
import dataclasses
import itertools
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.folds import make_folds
from deepgaze_jax.ops import pooled_size, scaled_size
from deepgaze_jax.training import TrainConfig, train

RESULTS = Path(__file__).resolve().parent.parent / "results"


def matmul_rate(size: int = 2048, repeats: int = 15) -> float:
    """Return multiply-adds per second of a square float32 product, best of repeats."""
    a = jnp.asarray(np.random.default_rng(0).random((size, size), np.float32))
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    jax.block_until_ready(product(a))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(product(a))
        times.append(time.perf_counter() - start)
    return size**3 / min(times)


def floor_multiply_adds(dataset: FixationDataset, config: TrainConfig) -> float:
    """Return the multiply-adds of one epoch of all folds, forward and gradients."""
    model = config.model
    sizes = [scaled_size(h, w, config.input_scale) for h, w in dataset.image_sizes]
    stride = model.feature_stride
    cells = np.array(
        [pooled_size(h, stride) * pooled_size(w, stride) for h, w in sizes]
    )
    widths = (model.channels, *model.widths)
    per_cell = sum(a * b for a, b in itertools.pairwise(widths))
    trained = [fold.train for fold in make_folds(len(dataset), config.folds)]
    return 2.0 * per_cell * sum(cells[images].sum() for images in trained)


def epoch_seconds(dataset: FixationDataset, config: TrainConfig) -> tuple[float, float]:
    """Return the median epoch (training and validation) and the whole run, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        start = time.perf_counter()
        train(dataset, config, run)
        whole = time.perf_counter() - start
        lines = [json.loads(line) for line in (run / "log.jsonl").open()]
    # The first epoch compiles.
    times = [x["seconds_training"] + x["seconds_validation"] for x in lines[1:]]
    return statistics.median(times), whole


def main() -> None:
    """Print the ratios and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--input-scale", type=float, default=TrainConfig.input_scale)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--solo-folds", type=int, nargs="+", default=[0, 4, 8])
    parser.add_argument("--shares", type=float, nargs="*", default=[0.25, 0.5])
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "ten_folds.json")
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    config = TrainConfig(
        epochs=arguments.epochs,
        patience=arguments.epochs,
        input_scale=arguments.input_scale,
        pixels_per_dva=None if dataset.pixels_per_dva is not None else 24.0,
    )
    # Fills the feature cache and warms the page cache.
    epoch_seconds(dataset, dataclasses.replace(config, only_folds=(0,), epochs=2))
    rate = matmul_rate()
    ten, ten_run = epoch_seconds(dataset, config)
    solos = [
        epoch_seconds(dataset, dataclasses.replace(config, only_folds=(k,)))
        for k in arguments.solo_folds
    ]
    solo = statistics.mean(epoch for epoch, _ in solos)
    solo_run = statistics.mean(run for _, run in solos)
    parts = {}
    for share in arguments.shares:
        part = dataset.select(np.arange(round(share * len(dataset))))
        # Twice: the first time copies the features.
        epoch_seconds(part, dataclasses.replace(config, only_folds=(0,), epochs=2))
        parts[len(part)] = round(epoch_seconds(part, config)[0], 2)
    rate = max(rate, matmul_rate())
    floor = floor_multiply_adds(dataset, config) / rate
    result = {
        "machine": platform.machine(),
        "devices": f"{jax.local_device_count()} {jax.default_backend()}",
        "jax": jax.__version__,
        "images": len(dataset),
        "input_scale": config.input_scale,
        "matmul_giga_multiply_adds_per_second": round(rate / 1e9, 1),
        "floor_seconds": round(floor, 2),
        "ten_folds_epoch_seconds": round(ten, 2),
        "epoch_over_floor": round(ten / floor, 2),
        "solo_epoch_seconds": round(solo, 2),
        "ten_folds_over_ten_solo_epochs": round(ten / (10 * solo), 3),
        "ten_folds_run_seconds": round(ten_run, 1),
        "solo_run_seconds": round(solo_run, 1),
        "ten_folds_over_ten_solo_runs": round(ten_run / (10 * solo_run), 3),
        "epoch_seconds_by_images": {**parts, len(dataset): round(ten, 2)},
        "solo_folds_timed": arguments.solo_folds,
        "epochs_of_a_run": arguments.epochs,
    }
    for name, value in result.items():
        print(f"{name:40s} {value}")
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
