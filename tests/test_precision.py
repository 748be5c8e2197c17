"""No product is left to an accelerator's reduced precision (TF32, bfloat16 passes)."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles_alexnet
import pytest

from deepgaze_jax import vgg
from deepgaze_jax.architectures import ARCHITECTURES
from deepgaze_jax.train_step import Batch, Optimiser, init_state, make_steps

SIZE = (64, 96)
PARAMS = {
    "vgg16": vgg.init_params(0),
    "vgg19": vgg.init_params(0),
    "alexnet": oracles_alexnet.random_params(0),
    "icf": {},
}


def products(jaxpr):
    """Every product and convolution, in inner programs too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if hasattr(inner, "jaxpr"):
                    yield from products(inner.jaxpr)
                elif hasattr(inner, "eqns"):
                    yield from products(inner)


def assert_exact(function, *arguments):
    found = list(products(jax.make_jaxpr(function)(*arguments).jaxpr))
    assert found
    for equation in found:
        precision = equation.params["precision"]
        precision = precision if isinstance(precision, tuple) else (precision,) * 2
        assert set(precision) == {jax.lax.Precision.HIGHEST}, equation


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prediction(name):
    model = ARCHITECTURES[name]()
    image = np.zeros((*SIZE, 3), np.float32)
    if model.network == "icf":  # VGG-19 and AlexNet share one form of convolution.
        assert_exact(lambda x: model.features({}, x), image)
    else:
        assert_exact(model.features, PARAMS[model.network], image)
    features = np.zeros((*model.feature_grid(*SIZE), model.channels), np.float32)
    bias = np.zeros(SIZE, np.float32)
    assert_exact(model.log_density, model.init(0, 2), features, bias)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training(name):
    model = ARCHITECTURES[name]()
    grid = model.pixel_grid(*SIZE)
    params, shape = model.init(0, 2), (2, model.channels)
    state = init_state(params, jnp.zeros(shape), jnp.ones(shape), Optimiser())
    batch = Batch(
        folds=np.arange(2),
        features=np.zeros((3, *model.feature_grid(*SIZE), model.channels), np.float32),
        counts=np.ones((3, *grid.shape), np.uint8),
        weights=np.ones(3, np.float32),
        center_bias=np.zeros((2, *grid.shape), np.float32),
        log_pixels=grid.log_pixels,
        model_size=SIZE,
    )
    train, _ = make_steps(model, Optimiser())
    key = jax.random.key(0)
    assert_exact(train, state, batch, np.arange(2), key, np.float32(0.1))


def test_the_check_sees_a_careless_product():
    with pytest.raises(AssertionError):
        assert_exact(lambda x: jnp.dot(x, x), np.zeros((2, 2), np.float32))
