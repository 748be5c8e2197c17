"""Seeds side by side in one readout, against the mean of what each of them predicts."""

import dataclasses

import numpy as np
import pytest

from deepgaze_jax.architectures import icf
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.joined_seeds import join_seeds
from deepgaze_jax.model_files import load_model, save_model
from deepgaze_jax.prediction import load_pretrained

RNG = np.random.default_rng(3)


def write_run(path, widths, **settings):
    """Two folds with three seeds each, as a run lists them: seed by seed."""
    tensors, channels, n = {}, 30, 6
    for layer, width in enumerate(widths):
        name = f"readout/dense{layer}"
        # The contrasts of noise are small.
        scale = channels**-0.5 * (50 if layer == 0 else 1)
        tensors[f"{name}/kernel"] = scale * RNG.standard_normal((n, channels, width))
        if layer < len(widths) - 1:
            tensors[f"{name}/bias"] = RNG.standard_normal((n, width))
        channels = width
    tensors["finalizer/sigma_grid_px"] = np.full(n, 2.0)
    tensors["finalizer/center_bias_weight"] = RNG.uniform(0.5, 1, n)
    bias = RNG.standard_normal((3, 75, 100)) / 3
    bias -= np.log(np.exp(bias).sum(axis=(1, 2), keepdims=True))
    tensors["center_bias/log_density"] = bias[[0, 1, 0, 1, 0, 1, 2]]
    model = dataclasses.replace(icf(), widths=widths)
    images = [{"name": f"{k}.png", "rgb_sha256": str(k)} for k in (0, 1)]
    folds = [
        {"fold": k + 4, "seed": s, "train": [1 - k], "validation": [], "test": [k]}
        for s in range(3)
        for k in (0, 1)
    ]
    card = {"network": "icf", "family": "icf", "model": dataclasses.asdict(model)}
    card |= {"input_scale": 1.0, "pixels_per_dva": None, "best_epoch": [*range(6)]}
    card |= {"images": images, "folds": folds, "scores": {"x": 1}}
    save_model(path, tensors, card | settings)
    return load_model(path)


@pytest.mark.parametrize("widths", [(1,), (5, 1), (4, 3, 2, 1)])
@pytest.mark.parametrize("n_seeds", [2, 3])
def test_density_is_the_normalised_geometric_mean(tmp_path, widths, n_seeds):
    path, joined = tmp_path / "run.safetensors", tmp_path / "joined.safetensors"
    tensors, card = join_seeds(*write_run(path, widths), n_seeds)
    save_model(joined, tensors, card)
    assert card["best_epoch"] == [[0, 2, 4][:n_seeds], [1, 3, 5][:n_seeds]]
    assert [fold["fold"] for fold in card["folds"]] == [4, 5]
    assert card["scores"] == {} and "seed" not in card["folds"][0]
    picture = RNG.uniform(0, 255, (64, 80, 3)).astype(np.float32)
    seeds, one = load_pretrained(path), load_pretrained(joined)
    for fold in (0, 1):
        members = [fold + 2 * seed for seed in range(n_seeds)]
        logs = [seeds.predict(picture, fold=k).astype(float) for k in members]
        mean = np.mean(logs, axis=0)
        mean -= np.log(np.exp(mean).sum())
        found = one.predict(picture, fold=fold)
        assert np.abs(found - mean).max() < 2e-5
        assert np.ptp(mean - logs[0]) > 0.05
    biases = [p.center_biases[-1] for p in (seeds, one)]
    np.testing.assert_array_equal(*biases)


def test_what_cannot_be_joined(tmp_path):
    tensors, card = write_run(tmp_path / "run.safetensors", (5, 1))
    for wrong in (0, 4):
        with pytest.raises(WeightsError, match=f"has 3 seeds of a fold, not {wrong}"):
            join_seeds(tensors, card, wrong)
    norms = card | {"model": {**card["model"], "layer_norm": True}}
    with pytest.raises(WeightsError, match="layer norms"):
        join_seeds(tensors, norms)
