"""Prediction of whole pictures on a CPU: ours against PyTorch.

    python experiments/benchmarks/predict_speed.py

From the array of a picture to its log density, center bias and mixture of all folds
included, with the shipped weights on both sides. The rival is DeepGaze II written in
PyTorch: inference mode, channels last, all cores, the same picture at the same scale;
once with the readout on the grid of conv5, as ours, and once with features enlarged
eight times before the readout, as the public code has it (`--enlarged`, over 1.4 GB;
the largest pictures are left out). Log densities are compared first. All numbers come
from one run, in turns; medians after a first call that compiles.

Needs torch (`pip install 'deepgaze-jax[bench]'`).
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from _torch_vgg19 import torch_layers, torch_taps
from scipy.special import logsumexp
from torch.nn import functional

from deepgaze_jax import load_pretrained
from deepgaze_jax.ops import resize_image
from deepgaze_jax.predictor import Predictor
from deepgaze_jax.readout_grid import center_bias_on_grid
from deepgaze_jax.weights import load_features

RESULTS = Path(__file__).resolve().parent.parent / "results"
SIZES = ((256, 256), (384, 512), (768, 1024), (1500, 2000), (3000, 4000))


def rival(predictor: Predictor, enlarged: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Return DeepGaze II in PyTorch, a function of a picture [height, width, 3]."""
    torch.set_num_threads(os.cpu_count() or 1)
    form = {"memory_format": torch.channels_last}
    layers = {
        name: (kernel.contiguous(**form), bias)
        for name, (kernel, bias) in torch_layers(load_features("vgg19")).items()
    }
    model = predictor.model
    readout = predictor.params["readout"]
    n_folds = predictor.n_folds
    sigma = np.asarray(predictor.params["finalizer"]["sigma_grid_px"])
    alpha = np.asarray(predictor.params["finalizer"]["center_bias_weight"])

    def dense(x: torch.Tensor, layer: int, fold: int) -> torch.Tensor:
        values = readout[f"dense{layer}"]
        kernel = torch.from_numpy(np.array(values["kernel"][fold].T))[..., None, None]
        bias = None
        if "bias" in values:
            bias = torch.from_numpy(np.array(values["bias"][fold]))
        return functional.conv2d(x, kernel, bias)

    def gaussian(sigma: float) -> torch.Tensor:
        offsets = np.arange(-model.blur_radius, model.blur_radius + 1)
        kernel = np.exp(-(offsets**2) / (2 * sigma**2))
        return torch.from_numpy(np.float32(kernel / kernel.sum()))

    @torch.inference_mode()
    def predict(picture: np.ndarray) -> np.ndarray:
        image_size = picture.shape[:2]
        size = predictor.model_size(image_size)
        x = torch.from_numpy(resize_image(picture, *size)).permute(2, 0, 1)[None]
        x = functional.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        maps = torch_taps(layers, x.contiguous(**form), model.taps)
        features = torch.cat([maps[tap] for tap in model.taps], dim=1)
        rows, columns = (math.ceil(n / 4) for n in size)
        factor = 8 if enlarged else 1
        if enlarged:
            features = functional.interpolate(features, scale_factor=8)
            features = features[..., :rows, :columns]
        bias = center_bias_on_grid(model, predictor.center_biases[-1], size)
        center_bias = torch.from_numpy(bias)
        log_pixels = torch.from_numpy(model.pixel_grid(*size).log_pixels)
        total = []
        for fold in range(n_folds):
            y = features
            for layer in range(len(model.widths)):
                y = dense(y, layer, fold)
                if layer < len(model.widths) - 1:
                    y = functional.relu(y)
            if factor == 1:
                y = functional.interpolate(y, scale_factor=8)[..., :rows, :columns]
            kernel = gaussian(float(sigma[fold]))
            y = functional.pad(y, (model.blur_radius,) * 4, mode="replicate")
            y = functional.conv2d(y, kernel[None, None, :, None])
            y = functional.conv2d(y, kernel[None, None, None, :])[0, 0]
            y = y + float(alpha[fold]) * center_bias
            total.append(y - torch.logsumexp((y + log_pixels).flatten(), 0))
        mixed = torch.logsumexp(torch.stack(total), 0).numpy()
        back = model.pixel_grid(*image_size, model_size=size)
        log_density = back.expand(mixed.astype(np.float64))
        return (log_density - logsumexp(log_density)).astype(np.float32)

    return predict


def seconds(call: Callable[[], Any]) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(
    calls: dict[str, Callable[[np.ndarray], np.ndarray]],
    picture: np.ndarray,
    repeats: int,
) -> dict[str, Any]:
    """Return median seconds, ratios and differences for one picture."""
    first = {name: call(picture) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(lambda call=call: call(picture)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = medians["ours"]
    return {
        "height": picture.shape[0],
        "width": picture.shape[1],
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "ours_seconds_per_megapixel": round(ours / picture[..., 0].size * 1e6, 3),
        "times_as_fast_as": {
            name: round(value / ours, 2)
            for name, value in medians.items()
            if name != "ours"
        },
        "largest_difference_of_log_densities": {
            name: float(f"{np.abs(value - first['ours']).max():.1e}")
            for name, value in first.items()
            if name != "ours"
        },
    }


def main() -> None:
    """Print everything as JSON, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=range(len(SIZES)))
    parser.add_argument("--enlarged", action="store_true")
    parser.add_argument(
        "-o", "--output", type=Path, default=RESULTS / "predict_speed.json"
    )
    arguments = parser.parse_args()
    predictor = load_pretrained("deepgaze2")
    calls = {"ours": predictor.predict, "torch": rival(predictor, enlarged=False)}
    rng = np.random.default_rng(0)
    rows = []
    for number in arguments.sizes:
        height, width = SIZES[number]
        noise = rng.uniform(0, 255, (height // 8 + 1, width // 8 + 1, 3))
        picture = np.rint(resize_image(noise, height, width)).astype(np.float32)
        own = dict(calls)
        if arguments.enlarged and height * width < 1e6:
            own["torch, features enlarged"] = rival(predictor, enlarged=True)
        repeats = arguments.repeats if height * width < 2e6 else 2
        rows.append(measure(own, picture, repeats))
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "jax": jax.__version__,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "sizes": rows,
    }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
