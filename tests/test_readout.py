"""The later readout (layer norms over whole images, softplus) against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from deepgaze_jax.architectures import deepgaze2, deepgaze2_iie_readout
from deepgaze_jax.readout import JointLayerNorm, Readout

WIDTHS = (8, 16, 1, 128, 16, 1)


def layer_norm(x, scale, bias):
    """One mean and one variance for all of [height, width, channels]; eps 1e-12."""
    x = np.asarray(x, np.float64)
    return (x - x.mean()) / np.sqrt(x.var() + 1e-12) * scale + bias


def oracle(readout, features):
    """Section 5 of the model, on features that lie on the readout grid already."""
    x = np.asarray(features, np.float64)
    for n in range(6):
        if n < 5:
            x = layer_norm(
                x, **{k: np.float64(v) for k, v in readout[f"layer_norm{n}"].items()}
            )
        x = x @ np.float64(readout[f"dense{n}"]["kernel"])
        if n < 5:
            x = np.logaddexp(0, x + np.float64(readout[f"dense{n}"]["bias"]))
    return x[..., 0]


@pytest.fixture(scope="module")
def params():
    """Random values everywhere, affine maps included."""
    model = deepgaze2_iie_readout()
    params = jax.tree.map(lambda leaf: np.asarray(leaf[0]), model.init(3, 1))
    rng = np.random.default_rng(4)
    for name, layer in params["readout"].items():
        if name.startswith("layer_norm"):
            layer["scale"] = np.float32(1 + 0.3 * rng.normal(size=layer["scale"].shape))
        if "bias" in layer:
            layer["bias"] = np.float32(0.3 * rng.normal(size=layer["bias"].shape))
    return params


def test_layers_and_names(params):
    shapes = jax.tree.map(np.shape, params["readout"])
    widths = (2560, *WIDTHS)
    assert deepgaze2_iie_readout().widths == WIDTHS
    expected = {}
    for n in range(6):
        expected[f"dense{n}"] = {"kernel": (widths[n], widths[n + 1])}
        if n < 5:
            expected[f"dense{n}"]["bias"] = (widths[n + 1],)
            expected[f"layer_norm{n}"] = {"scale": (widths[n],), "bias": (widths[n],)}
    assert shapes == expected


@pytest.mark.parametrize("size", [(64, 96), (33, 47), (97, 131)])
def test_readout_map_equals_enlarging_the_features_first(params, size):
    """Cropped cells count less in the layer norm, so the crop matters."""
    model = deepgaze2_iie_readout()
    rng = np.random.default_rng(5)
    features = np.float32(rng.normal(size=(*model.feature_grid(*size), 2560)) + 0.5)
    grid = -(-size[0] // 4), -(-size[1] // 4)
    expected = oracle(params["readout"], oracles.upsample_nearest(features, 8, *grid))
    found = np.asarray(model.readout_map(params["readout"], features, size))
    found = oracles.upsample_nearest(found, 8, *grid)
    assert np.ptp(expected) > 0.1
    assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_log_density(params):
    """Through blur, center bias and normalisation, with a batch of two."""
    model = deepgaze2_iie_readout()
    size = (40, 72)
    rng = np.random.default_rng(6)
    shape = (2, *model.feature_grid(*size), 2560)
    features = np.float32(rng.normal(size=shape))
    bias = oracles.log_normalise(rng.normal(size=size)).astype(np.float32)
    folded = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], params)
    found = model.log_density(folded, features, np.stack([bias, bias]))
    for k in (0, 1):
        x = oracle(params["readout"], oracles.upsample_nearest(features[k], 8, 10, 18))
        expected = oracles.finalize(x, params["finalizer"], bias, *size)
        assert np.abs(found[0, k] - expected).max() <= 1e-5


def test_layer_norm_of_a_constant_is_its_bias():
    module = JointLayerNorm()
    x = jnp.full((3, 4, 2), 7.0)
    params = {"params": {"scale": jnp.ones(2), "bias": jnp.array([1.0, -2.0])}}
    found = module.apply(params, x, None)
    np.testing.assert_allclose(found[..., 0], np.ones((3, 4)), atol=1e-5)
    np.testing.assert_allclose(found[..., 1], np.full((3, 4), -2.0), atol=1e-5)


def test_the_usual_readout_has_no_layer_norm():
    assert not deepgaze2().layer_norm
    params = Readout().init(jax.random.key(0), jnp.zeros((1, 1, 5)))["params"]
    assert sorted(params) == ["dense0", "dense1", "dense2", "dense3"]


@pytest.mark.torch
def test_layer_norm_is_that_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    x = np.float32(rng.normal(size=(2, 5, 6, 3)) * 4 + 2)
    scale, bias = np.float32(rng.normal(size=(2, 3)))
    found = JointLayerNorm().apply({"params": {"scale": scale, "bias": bias}}, x, None)
    planes = torch.from_numpy(x).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.layer_norm(planes, planes.shape[1:], eps=1e-12)
    theirs = theirs.permute(0, 2, 3, 1).numpy() * scale + bias
    assert np.abs(found - theirs).max() <= 1e-5 * np.abs(theirs).max()
