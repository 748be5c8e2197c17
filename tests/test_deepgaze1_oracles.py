"""Two implementations of DeepGaze I, in PyTorch and in numpy, agree with one another.

They are what the library's own is compared with.
"""

from pathlib import Path

import numpy as np
import oracles_alexnet
import oracles_deepgaze1
import pytest

TOLERANCE = 1e-5  # of log densities
SIZES = ((64, 96), (97, 131), (130, 99), (101, 258), (66, 67), (71, 234))


def size_name(size):
    return "{}x{}".format(*size)


@pytest.fixture(scope="module")
def stored():
    path = Path(__file__).parent / "reference" / "deepgaze1_torch.npz"
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def params(stored):
    params = oracles_alexnet.random_params(int(stored["alexnet_seed"]))
    sums = [parts["kernel"].sum(dtype=np.float64) for parts in params.values()]
    np.testing.assert_allclose(
        sums, stored["weight_sums"], rtol=1e-6, err_msg="numpy's random stream changed"
    )
    return params


@pytest.fixture(scope="module")
def cases(stored, params):
    """Size -> inputs and features."""
    found = {}
    for size in SIZES:
        case = oracles_deepgaze1.random_case(int(stored["seed"]), *size)
        found[size] = case, oracles_deepgaze1.features(params, case["image"])
    return found


every_size = pytest.mark.parametrize("size", SIZES, ids=size_name)


def log_density(case, maps):
    values = (case[name] for name in ("kernel", "sigma", "weight", "center_bias"))
    return oracles_deepgaze1.deepgaze1(maps, *values)["log_density"]


def error(stored, found):
    key = size_name(found.shape)
    return np.abs(found.ravel()[stored[f"{key}/index"]] - stored[f"{key}/value"]).max()


@every_size
def test_oracle_agrees_with_stored_torch_values(stored, cases, size):
    case, maps = cases[size]
    found = log_density(case, maps)
    assert found.shape == size
    assert abs(np.exp(found).sum() - 1) < 1e-12
    # Where there is more than one cell of features, they must count for something.
    effect = np.ptp(found - log_density(case, 0 * maps))
    assert maps.shape[:2] == (1, 1) or effect > 0.1
    assert error(stored, found) <= TOLERANCE


def exact_index(n_in, n_out):
    return [i * n_in // n_out for i in range(n_out)]


def half_pixel_index(n_in, n_out):
    return [(2 * i + 1) * n_in // (2 * n_out) for i in range(n_out)]


def spread(x, n):
    """What resizing to the same number of cells would keep."""
    rows, columns = (exact_index(size, size // n) for size in x.shape[:2])
    return x[rows][:, columns]


OTHER_RULES = [
    ("nearest_index", exact_index, [(71, 234)]),
    ("nearest_index", half_pixel_index, [(97, 131), (130, 99)]),
    ("keep_every", spread, [(97, 131), (130, 99), (66, 67)]),
    ("blur_radius", lambda sigma: 20, [(64, 96), (101, 258), (71, 234)]),
    ("blur_radius", lambda sigma: round(4 * sigma), [(64, 96), (71, 234)]),
]


@pytest.mark.parametrize(("name", "other", "sizes"), OTHER_RULES)
def test_other_rules_are_told_apart(monkeypatch, stored, cases, name, other, sizes):
    monkeypatch.setattr(oracles_deepgaze1, name, other)
    for size in sizes:
        assert error(stored, log_density(*cases[size])) > 10 * TOLERANCE, size


def test_grid_of_odd_sizes_is_that_of_the_whole_image(params):
    """105 pixels: ceil(105 / 8) = 14 rows, though the half has 52, which are 13."""
    case = oracles_deepgaze1.random_case(3, 105, 70)
    maps = oracles_deepgaze1.features(params, case["image"])
    values = (case[name] for name in ("kernel", "sigma", "weight", "center_bias"))
    found = oracles_deepgaze1.deepgaze1(maps, *values)
    assert found["readout_map"].shape == (14, 9)
    assert found["blurred"].shape == found["center_bias"].shape == (26, 17)


@pytest.mark.torch
@every_size
def test_torch_and_numpy_agree(params, cases, size):
    pytest.importorskip("torch")
    from torch_deepgaze1 import torch_log_density

    case, maps = cases[size]
    state_dict = oracles_deepgaze1.state_dict(params, case)
    found = torch_log_density(state_dict, case["image"], case["center_bias"])
    assert found.dtype == np.float32
    assert np.abs(found - log_density(case, maps)).max() <= TOLERANCE


@pytest.mark.torch
def test_names_of_the_state_dict():
    pytest.importorskip("torch")
    from torch_deepgaze1 import DeepGaze1

    shapes = {name: tuple(v.shape) for name, v in DeepGaze1().state_dict().items()}
    assert shapes.pop("readout_network.conv0.weight") == (1, 256, 1, 1)
    assert shapes.pop("finalizer.gauss.sigma") == ()
    assert shapes.pop("finalizer.center_bias_weight") == (1,)
    assert set(shapes) == {
        f"features.features.1.features.{n}.{part}"
        for n in (0, 3, 6, 8, 10)
        for part in ("weight", "bias")
    }
