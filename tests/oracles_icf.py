"""ICF by the text of the model, section 3: plain NumPy, float64, tap by tap.

`python tests/oracles_icf.py` writes the small case that is kept in tests/data.
"""

from pathlib import Path

import numpy as np
import oracles

CASE = Path(__file__).parent / "data" / "icf_case.npz"

PCA = np.array(
    [
        [0.40052664, -0.81574154, 0.41730589],
        [-0.72759449, -0.00632331, 0.68597835],
        [-0.55694222, -0.57838207, -0.59606171],
    ]
)


def features(image):
    """ICF maps [ceil(height / 8), ceil(width / 8), 30] of an image 0..255."""
    half = oracles.pool_mean(np.asarray(image, np.float64), 2)
    components = (half / 256 - 0.5) @ PCA
    channels = []
    for c in range(3):
        means, contrasts = [], []
        for sigma in (5, 10, 20, 40, 80):
            x = components[..., c]
            mean = oracles.blur(x, sigma, radius=85)
            means.append(mean)
            contrasts.append(oracles.blur((x - mean) ** 2, sigma, radius=85))
        channels += means + contrasts
    return oracles.pool_max(np.stack(channels, axis=-1), 4)


def readout_map(readout, maps):
    """1x1 layers 16, 32, 2 with bias and ReLU, then 1 with neither."""
    x = np.asarray(maps, np.float64)
    for name in ("dense0", "dense1", "dense2"):
        kernel = np.asarray(readout[name]["kernel"], np.float64)
        x = np.maximum(x @ kernel + np.asarray(readout[name]["bias"], np.float64), 0)
    return (x @ np.asarray(readout["dense3"]["kernel"], np.float64))[..., 0]


def icf(readouts, finalizers, image, center_bias):
    """Both outputs of ICF and what lies between, as a dictionary."""
    size = np.shape(image)[:2]
    maps = features(image)
    small = [readout_map(readout, maps) for readout in readouts]
    pairs = list(zip(small, finalizers, strict=True))
    folds = [oracles.finalize(m, f, center_bias, *size, factor=8) for m, f in pairs]
    without = [oracles.finalize(m, f, None, *size, factor=8) for m, f in pairs]
    return {
        "features": maps,
        "readout_maps": np.stack(small),
        "fold_log_densities": np.stack(folds),
        "log_density": oracles.mixture(folds),
        "log_density_without_center_bias": oracles.mixture(without),
    }


def random_folds(seed, n_folds):
    """Random readouts and finalizers whose densities are far from flat."""
    rng = np.random.default_rng(seed)
    readouts, finalizers = [], []
    for _ in range(n_folds):
        widths, layers = (30, 16, 32, 2, 1), {}
        for n in range(4):
            scale = (20 if n == 0 else 1.5) / np.sqrt(widths[n])
            kernel = rng.normal(size=widths[n : n + 2]) * scale
            layers[f"dense{n}"] = {"kernel": np.float32(kernel)}
            if n < 3:
                layers[f"dense{n}"]["bias"] = np.float32(rng.normal(size=widths[n + 1]))
        readouts.append(layers)
        sigma, weight = rng.uniform(1, 3), rng.uniform(0.7, 1.1)
        finalizers.append(
            {
                "sigma_grid_px": np.float32(sigma),
                "center_bias_weight": np.float32(weight),
            }
        )
    return readouts, finalizers


def case():
    """Image, center bias, parameters and everything that ICF makes of them."""
    rng = np.random.default_rng(11)
    height, width = 93, 126
    y, x = np.mgrid[:height, :width]
    image = 127 + 60 * np.sin(x / 9)[..., None] * np.cos(
        y / 13 + np.arange(3)[:, None, None]
    ).transpose(1, 2, 0)
    image[20:40, 60:90] = (250, 10, 120)
    image = np.clip(image + rng.normal(size=image.shape) * 12, 0, 255)
    image = np.rint(image).astype(np.uint8)
    bias = -((x / width - 0.45) ** 2 + (y / height - 0.55) ** 2) * 12
    bias = oracles.log_normalise(bias).astype(np.float32)
    readouts, finalizers = random_folds(12, 2)
    found = {"image": image, "center_bias": bias}
    for k in range(2):
        for layer, parts in readouts[k].items():
            for part, array in parts.items():
                found[f"readout_{k}/{layer}/{part}"] = array
        for name, value in finalizers[k].items():
            found[f"finalizer_{k}/{name}"] = value
    return found | icf(readouts, finalizers, image, bias)


def write_case():
    """Write the case as float32."""
    CASE.parent.mkdir(exist_ok=True)
    arrays = {
        name: value if value.dtype == np.uint8 else np.float32(value)
        for name, value in case().items()
    }
    np.savez_compressed(CASE, **arrays)


if __name__ == "__main__":
    write_case()
