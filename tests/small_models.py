"""Model files with random parameters, for tests that go through files."""

import dataclasses

import jax
import numpy as np
import oracles

from deepgaze_jax.architectures import deepgaze2
from deepgaze_jax.model_files import save_model, write_tensors
from deepgaze_jax.weights import REGISTRY


def write_feature_weights(cache, params, **changes):
    """Put VGG-19 values into a cache folder as if they had been fetched."""
    path = cache / "weights" / "vgg19.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"features/{layer}/{part}": array
        for layer, parts in params.items()
        for part, array in parts.items()
    }
    write_tensors(path, tensors, REGISTRY["vgg19"].card | changes)
    return path


def random_folds(feature_params, n_folds=2, seed=5):
    """(readouts, finalizers, center_biases [n_folds + 1, 75, 100]), all different.

    The first layers look along directions in which the features of one image differ;
    deep random features are nearly the same everywhere.
    """
    rng = np.random.default_rng(seed)
    image = oracles.random_image(seed, 64, 96)
    features = oracles.deepgaze2_features(feature_params, image).reshape(-1, 2560)
    mean = features.mean(axis=0)
    readouts = []
    for _ in range(n_folds):
        kernel = (features - mean).T @ rng.normal(size=(len(features), 16))
        kernel /= ((features - mean) @ kernel).std(axis=0)
        readout = {
            "dense0": {"kernel": kernel, "bias": 0.5 - mean @ kernel},
            "dense1": {"kernel": rng.normal(size=(16, 32)) / 4, "bias": np.ones(32)},
            "dense2": {"kernel": rng.normal(size=(32, 2)) / 5, "bias": np.full(2, 3.0)},
            "dense3": {"kernel": np.array([[1.5], [-1.5]])},
        }
        readouts.append(jax.tree.map(np.float32, readout))
    finalizers = [
        {
            "sigma_grid_px": np.float32(2 + k),
            "center_bias_weight": np.float32(1 - k / 9),
        }
        for k in range(n_folds)
    ]
    y, x = (np.mgrid[:75, :100] + 0.5) / [[[75]], [[100]]]
    biases = [
        oracles.log_normalise(-((y - 0.4) ** 2 + (x - 0.4 - k / 20) ** 2) / 0.1)
        for k in range(n_folds + 1)
    ]
    return readouts, finalizers, np.stack(biases).astype(np.float32)


def listed(hashes, *folds):
    """What a card says about its images; `folds` give positions by part.

    Example: `listed(hashes, {"train": [0], "test": [1]})`.
    """
    names = (f"{k}.png" for k in range(len(hashes)))
    return {
        "images": [
            {"name": name, "rgb_sha256": value}
            for name, value in zip(names, hashes, strict=True)
        ],
        "folds": [{"train": [], "validation": [], "test": []} | fold for fold in folds],
    }


def write_model(path, parameters, **card):
    """Write a model file of `random_folds` with a card that can be changed."""
    readouts, finalizers, center_biases = parameters
    stacked = {
        "readout": jax.tree.map(lambda *leaves: np.stack(leaves), *readouts),
        "finalizer": jax.tree.map(lambda *leaves: np.stack(leaves), *finalizers),
    }
    tensors = {"center_bias/log_density": center_biases}
    for name, layer in stacked["readout"].items():
        for part, array in layer.items():
            tensors[f"readout/{name}/{part}"] = array
    for name, array in stacked["finalizer"].items():
        tensors[f"finalizer/{name}"] = array
    card = {
        "model": dataclasses.asdict(deepgaze2()),
        "network": "vgg19",
        "family": "O",
        "pixels_per_dva": 24.0,
        "input_scale": 1.0,
        "folds": [],
    } | card
    save_model(path, tensors, card)
    return path
