"""An epoch of ten folds against the public recipe, re-created in PyTorch.

    python experiments/benchmarks/public_recipe.py --data ../shared/data/osie

The public recipe trains one fold after another; each step runs VGG-19 again for its
images and puts the readout on features that have been enlarged to the readout grid
(x8, nearest). Here it is written from its description, with the same images, taps,
readout and blur as ours (the densities are compared first); nothing of it is stored
between steps. Both run in this process on all cores, one after the other.

A whole epoch of the recipe would take hours: some steps are timed after one that is
not, and the time of an image is scaled to the images of ten folds (training parts with
gradients, validation parts without). Ours is a real epoch, training and validation,
with the features cached before, which takes one pass of the network over the data.

Needs torch (`pip install 'deepgaze-jax[bench]'`), and memory for enlarged features:
0.7 GB an image of OSIE, several times.
"""

import argparse
import json
import math
import platform
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import torch
from _torch_vgg19 import torch_layers, torch_taps
from torch.nn import functional

from deepgaze_jax import weights
from deepgaze_jax.center_bias import fit_center_bias, resample_log_density
from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.folds import make_folds
from deepgaze_jax.ops import resize_image, scaled_size
from deepgaze_jax.training import TrainConfig, train

RADIUS = 20


class PublicRecipe(torch.nn.Module):
    """DeepGaze II as the public code computes it: one fold, features enlarged.

    Args:
        taps: of VGG-19.
        values: its parameters, `{"conv1_1": {"kernel", "bias"}, ...}`.
        widths: of the readout.
    """

    def __init__(self, taps, values, widths):
        """Build it."""
        super().__init__()
        self.taps = taps
        self.vgg = torch_layers(values)
        sizes = (512 * len(taps), *widths)
        self.readout = torch.nn.ModuleList(
            torch.nn.Conv2d(a, b, 1, bias=k < len(widths) - 1)
            for k, (a, b) in enumerate(zip(sizes, widths, strict=False))
        )
        self.sigma = torch.nn.Parameter(torch.tensor(5.0))
        self.alpha = torch.nn.Parameter(torch.tensor(1.0))

    def features(self, images):
        """Return the taps of images [B, 3, H, W], enlarged to the readout grid."""
        x = functional.avg_pool2d(images, 2, ceil_mode=True, count_include_pad=False)
        rows, columns = (math.ceil(n / 2) for n in x.shape[-2:])
        maps = torch_taps(self.vgg, x, self.taps)
        x = torch.cat([maps[tap] for tap in self.taps], dim=1)
        return functional.interpolate(x, scale_factor=8)[..., :rows, :columns]

    def forward(self, images, center_bias):
        """Return log densities [B, rows, columns] on the readout grid."""
        with torch.no_grad():
            x = self.features(images)
        for k, layer in enumerate(self.readout):
            x = layer(x)
            if k < len(self.readout) - 1:
                x = functional.relu(x)
        offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float32)
        kernel = torch.exp(-(offsets**2) / (2 * self.sigma**2))
        kernel = kernel / kernel.sum()
        x = functional.pad(x, (RADIUS,) * 4, mode="replicate")
        x = functional.conv2d(x, kernel[None, None, :, None])
        x = functional.conv2d(x, kernel[None, None, None, :])[:, 0]
        x = x + self.alpha * center_bias
        return x - torch.logsumexp(x.flatten(1), dim=1)[:, None, None]


def check_same(recipe, model, picture, center_bias, values) -> None:
    """Return nothing if the recipe's density of a picture is our model's."""
    layers = {
        f"dense{k}": {
            "kernel": layer.weight.detach().numpy()[None, :, :, 0, 0].swapaxes(1, 2),
            **(
                {}
                if layer.bias is None
                else {"bias": layer.bias.detach().numpy()[None]}
            ),
        }
        for k, layer in enumerate(recipe.readout)
    }
    numbers = (recipe.sigma, recipe.alpha)
    names = ("sigma_grid_px", "center_bias_weight")
    finalizer = {
        n: v.detach().numpy()[None] for n, v in zip(names, numbers, strict=True)
    }
    ours = model.grid_log_density(
        {"readout": layers, "finalizer": finalizer},
        model.features(values, picture),
        center_bias.numpy(),
        np.zeros(center_bias.shape, np.float32),
        picture.shape[:2],
    )[0]
    with torch.no_grad():
        x = torch.from_numpy(np.float32(picture)).permute(2, 0, 1)[None]
        theirs = recipe(x, center_bias)[0].numpy()
    difference = float(np.abs(theirs - np.asarray(ours)).max())
    if not difference < 1e-2:
        raise SystemExit(f"the densities differ by {difference:g}: not the same model")


def recipe_seconds(
    dataset: FixationDataset, config: TrainConfig, batch_size: int, n_steps: int
) -> tuple[float, float]:
    """Return seconds of an image in training and in validation, medians over steps."""
    size = scaled_size(*map(int, dataset.image_sizes[0]), config.input_scale)
    same = np.flatnonzero((dataset.image_sizes == dataset.image_sizes[0]).all(axis=1))
    model = config.model
    values = weights.load_features("vgg19")
    recipe = PublicRecipe(model.taps, values, model.widths)
    optimiser = torch.optim.Adam(recipe.parameters(), lr=1e-3)
    density = fit_center_bias(dataset.fixations, dataset.image_sizes).log_density
    pooled = np.array(model.pool_center_bias(resample_log_density(density, *size)))
    center_bias = torch.from_numpy(np.float32(pooled))
    grid = model.pixel_grid(*map(int, dataset.image_sizes[0]), size)
    picture = resize_image(dataset.image(int(same[0])), *size)
    check_same(recipe, model, picture, center_bias, values)
    fixations, times = dataset.fixations, ([], [])
    for step in range(n_steps + 1):
        first = step * batch_size
        images = [int(same[k % len(same)]) for k in range(first, first + batch_size)]
        started = time.perf_counter()
        pictures = [resize_image(dataset.image(image), *size) for image in images]
        x = torch.from_numpy(np.float32(pictures)).permute(0, 3, 1, 2)
        log_density = recipe(x, center_bias)
        losses = []
        for image, own_map in zip(images, log_density, strict=True):
            own = fixations.select(fixations.image == image)
            rows = grid.rows[own.y.astype(int)]
            columns = grid.columns[own.x.astype(int)]
            losses.append(-own_map[rows, columns].mean())
        loss = torch.stack(losses).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        trained = time.perf_counter()
        with torch.no_grad():
            recipe(x, center_bias)
        if step:
            times[0].append((trained - started) / batch_size)
            times[1].append((time.perf_counter() - trained) / batch_size)
    return statistics.median(times[0]), statistics.median(times[1])


def our_seconds(dataset: FixationDataset, config: TrainConfig) -> float:
    """Return the seconds of an epoch of ten folds, the median without the first."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(dataset, config, run)
        lines = [json.loads(line) for line in (run / "log.jsonl").open()]
    times = [x["seconds_training"] + x["seconds_validation"] for x in lines[1:]]
    return statistics.median(times)


def main() -> None:
    """Print both times and their ratio, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)
    stated = dataset.pixels_per_dva is not None
    config = TrainConfig(
        epochs=arguments.epochs,
        patience=arguments.epochs,
        pixels_per_dva=None if stated else 24.0,
    )
    started = time.perf_counter()
    ours = our_seconds(dataset, config)
    whole = time.perf_counter() - started
    training, validation = recipe_seconds(
        dataset, config, arguments.batch_size, arguments.steps
    )
    folds = make_folds(len(dataset))
    n_train = sum(len(fold.train) for fold in folds)
    n_validation = sum(len(fold.validation) for fold in folds)
    recipe = n_train * training + n_validation * validation
    result = {
        "machine": platform.machine(),
        "devices": f"{jax.local_device_count()} {jax.default_backend()}",
        "jax": jax.__version__,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "images": len(dataset),
        "batch_size_of_the_recipe": arguments.batch_size,
        "steps_measured": arguments.steps,
        "recipe_seconds_per_image_training": round(training, 3),
        "recipe_seconds_per_image_validation": round(validation, 3),
        "recipe_epoch_seconds_scaled": round(recipe, 1),
        "our_epoch_seconds": round(ours, 2),
        "our_run_seconds_with_set_up": round(whole, 1),
        "our_epochs": arguments.epochs,
        "recipe_over_ours": round(recipe / ours, 1),
    }
    for name, value in result.items():
        print(f"{name:40s} {value}")
    print(
        f"The recipe's epoch is scaled from {arguments.steps} steps to {n_train} "
        f"training and {n_validation} validation images of ten folds; ours was "
        "measured whole."
    )
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
