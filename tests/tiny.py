"""A tiny world for tests of training: random VGG-19 values and small data sets."""

import csv

import jax
import numpy as np
import oracles
from PIL import Image

from deepgaze_jax import parallel, training, weights
from deepgaze_jax.model_files import write_tensors
from deepgaze_jax.training import TrainConfig

WIDE, NARROW = (64, 96), (70, 50)
#: Shallow taps: the network is cut off early and the readout stays small.
TAPS = ("conv3_1", "relu3_1", "relu3_2")
N_EPOCHS = 5


def on_one_device(patch):
    """Let training see one of the devices; more of them: test_parallel.py.

    Args:
        patch: a `pytest.MonkeyPatch`.
    """
    one = jax.local_devices()[:1]
    patch.setattr(
        training, "place", lambda *sizes, **how: parallel.place(*sizes, one, **how)
    )


def write_weights(cache):
    """Put random values where the registered VGG-19 would lie; returns them."""
    params = oracles.random_vgg19_params(4)
    tensors = {
        f"features/{layer}/{part}": array
        for layer, parts in params.items()
        for part, array in parts.items()
    }
    (cache / "weights").mkdir(parents=True)
    entry = weights.REGISTRY["vgg19"]
    write_tensors(cache / "weights" / "vgg19.safetensors", tensors, entry.card)
    return params


def write_folder(folder, sizes, seed=0, without=()):
    """Write a data set; fixations gather at a bright spot of each picture.

    Args:
        folder: made here.
        sizes: (height, width) of each picture.
        seed: of pictures and fixations.
        without: indices of pictures that nobody looked at.
    """
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for i, (height, width) in enumerate(sizes):
        image = oracles.random_image(seed + i, height, width)
        cy, cx = rng.uniform(0.2, 0.8, 2) * (height, width)
        y, x = np.mgrid[:height, :width]
        spot = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 8**2))
        image = np.clip(image + 120 * spot[..., None], 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{i:02}.png")
        n = 0 if i in without else int(rng.integers(4, 9))
        fx = np.clip(rng.normal(cx, 9, n), 0, width - 0.01)
        fy = np.clip(rng.normal(cy, 9, n), 0, height - 0.01)
        rows += [
            (f"{i:02}.png", f"s{k % 3}", k // 3, round(fx[k], 2), round(fy[k], 2))
            for k in range(n)
        ]
    write_fixations(folder, rows)
    return folder


def read_fixations(folder):
    with open(folder / "fixations.csv", newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def write_fixations(folder, rows):
    with open(folder / "fixations.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "subject", "fixation_index", "x", "y"))
        writer.writerows(rows)


def config(**changes):
    """A configuration that takes a second or two."""
    values = {
        "taps": TAPS,
        "widths": (4, 2, 1),
        "n_folds": 4,
        "input_scale": 1.25,
        "pixels_per_dva": 24.0,
        "epochs": N_EPOCHS,
        "patience": N_EPOCHS,
        "batch_size": 4,
        "learning_rate": 0.02,
        "warmup_steps": 3,
        "average_decay": 0.5,
    }
    return TrainConfig(**{**values, **changes})


def log_density(features, readout, finalizer, center_bias, model_size, size, factor):
    """One fold's log density on the picture's own pixels, literally, in float64.

    Args:
        features: [h, w, channels] of the resized picture.
        readout: `{"dense0": {"kernel", "bias"}, ...}`, the last without a bias.
        finalizer: `{"sigma_grid_px", "center_bias_weight"}`.
        center_bias: log density on any grid.
        model_size: height and width of the resized picture.
        size: height and width of the picture.
        factor: cells of the readout grid for each cell of the features.
    """
    grid = tuple(-(-n // 4) for n in model_size)
    x = oracles.upsample_nearest(np.asarray(features, np.float64), factor, *grid)
    for layer in range(len(readout) - 1):
        x = x @ np.asarray(readout[f"dense{layer}"]["kernel"], np.float64)
        x = oracles.relu(x + np.asarray(readout[f"dense{layer}"]["bias"], np.float64))
    x = x @ np.asarray(readout[f"dense{len(readout) - 1}"]["kernel"], np.float64)
    at_model = oracles.map_back(center_bias, *model_size)
    at_model = oracles.finalize(x[..., 0], finalizer, at_model, *model_size)
    return oracles.map_back(at_model, *size)


def unflatten(tensors, fold):
    """Readout and finalizer of one fold from the tensors of a model file."""
    params = {"readout": {}, "finalizer": {}}
    for name, array in tensors.items():
        part, *rest = name.split("/")
        if part == "readout":
            params[part].setdefault(rest[0], {})[rest[1]] = array[fold]
        elif part == "finalizer":
            params[part][rest[0]] = array[fold]
    return params
