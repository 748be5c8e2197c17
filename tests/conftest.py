"""Fixtures that all tests share, and a hostile configuration of JAX.

Two virtual CPU devices, so that sharding is exercised everywhere; rank promotion
raises; warnings are errors (setup.cfg).
"""

import os
from pathlib import Path

import hypothesis
import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# No deadlines: a busy machine is not a defect. The same examples each time.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")


def pytest_collection_modifyitems(items):
    # Whatever reaches the shared folder is real_data, marked by hand or not.
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data sets; tests skip where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DEEPGAZE_SHARED", beside)) / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set DEEPGAZE_SHARED")
    return folder


@pytest.fixture(scope="session")
def osie_mini(shared_data):
    from deepgaze_jax.datasets.folder import read_folder

    return read_folder(shared_data / "osie_mini")


@pytest.fixture(scope="session")
def osie(shared_data):
    from deepgaze_jax.datasets.folder import read_folder

    return read_folder(shared_data / "osie")


@pytest.fixture(scope="session")
def small_params():
    """Random VGG-19 values."""
    import oracles

    return oracles.random_vgg19_params(7)


@pytest.fixture(scope="session")
def small_folds(small_params):
    """Random readouts, finalizers and center biases of two folds."""
    import small_models

    return small_models.random_folds(small_params)


@pytest.fixture(scope="session")
def small_cache(small_params, tmp_path_factory):
    """A cache folder that holds them as VGG-19."""
    import small_models

    cache = tmp_path_factory.mktemp("cache")
    small_models.write_feature_weights(cache, small_params)
    return cache


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """A weights cache with random VGG-19 values; returns its folder and the values."""
    import tiny

    cache = tmp_path_factory.mktemp("cache")
    return cache, tiny.write_weights(cache)


@pytest.fixture(scope="module")
def tiny_world(tiny_weights):
    """A module's tests have random VGG-19 values and one device."""
    import tiny

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPGAZE_CACHE", str(tiny_weights[0]))
        tiny.on_one_device(patch)
        yield


@pytest.fixture
def tiny_cache(tiny_weights, monkeypatch):
    """The values of a random VGG-19 that the library takes for the registered one."""
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tiny_weights[0]))
    return tiny_weights[1]


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory):
    """Two small data sets: pictures of one size, and of two sizes."""
    import tiny

    root = tmp_path_factory.mktemp("data")
    return {
        "one": tiny.write_folder(root / "one", [tiny.WIDE] * 13, 1, without=(5,)),
        "two": tiny.write_folder(
            root / "two", [tiny.WIDE] * 9 + [tiny.NARROW] * 5, 2, without=(3, 9)
        ),
    }


@pytest.fixture(scope="module")
def anyio_backend():
    """What runs tests that are coroutines."""
    return "asyncio"


@pytest.fixture(scope="module")
def icf():
    """The released ICF, which needs no weights."""
    from deepgaze_jax.prediction import load_pretrained

    return load_pretrained("icf")
