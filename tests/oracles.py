"""Slow second implementation of the model in plain numpy float64.

Everything the library computes quickly is written here once more, literally as the
text describes it: loops instead of matrix tricks, the readout on the upsampled
features instead of the small grid. Nothing here imports the library, so an agreement
of both means that two derivations of one text agree. Sections cited as "model" are
those of the specification of the models, "contract" that of the conventions.

One image at a time: images [height, width, 3] RGB 0..255, maps [height, width],
features [height, width, channels]. Log densities are natural logarithms.
"""

import numpy as np
from scipy import ndimage

RGB_MEAN = (123.68, 116.779, 103.939)
VGG19_LAYERS = ((2, 3, 64), (2, 64, 128), (4, 128, 256), (4, 256, 512), (4, 512, 512))
VGG19_CONVOLUTIONS = tuple(
    f"{block}_{layer}"
    for block, (n_layers, _, _) in enumerate(VGG19_LAYERS, start=1)
    for layer in range(1, n_layers + 1)
)
VGG19_TAPS = tuple(
    f"{kind}{convolution}"
    for convolution in VGG19_CONVOLUTIONS
    for kind in ("conv", "relu")
) + tuple(f"pool{block}" for block in range(1, 6))
DEEPGAZE2_TAPS = ("conv5_1", "relu5_1", "relu5_2", "conv5_3", "relu5_4")
BLUR_RADIUS = 20
CENTER_BIAS_SHAPE = (75, 100)


# Random inputs, so that tests regenerate weights and images instead of storing them


def random_vgg19_params(seed):
    """VGG-19 values: the recipe behind ``tests/reference/vgg19_torch.npz``.

    ``rng = np.random.default_rng(seed)``; for conv1_1, conv1_2, ..., conv5_4 in turn
    the kernel [3, 3, in, out] is ``rng.standard_normal(shape, float32)`` times
    ``float32(sqrt(2 / (9 * in)))``, then the bias [out] is
    ``rng.standard_normal(out, float32)``, as it comes. Activations keep the scale of
    the image (tens), beside which the biases are small but far from negligible.
    """
    rng = np.random.default_rng(seed)
    params = {}
    for block, (n_layers, n_in, n_out) in enumerate(VGG19_LAYERS, start=1):
        for layer in range(1, n_layers + 1):
            shape = (3, 3, n_in if layer == 1 else n_out, n_out)
            scale = np.float32(np.sqrt(2 / (9 * shape[2])))
            kernel = rng.standard_normal(shape, dtype=np.float32) * scale
            bias = rng.standard_normal(n_out, dtype=np.float32)
            params[f"conv{block}_{layer}"] = {"kernel": kernel, "bias": bias}
    return params


def random_image(seed, height, width):
    """Image float32 [height, width, 3] of whole numbers 0..255 with uneven contrast.

    Noise of a contrast that differs between four quarters, on a colour ramp. Deep
    random networks map plain noise to nearly the same features everywhere, which
    would hide errors of position.
    """
    rng = np.random.default_rng([seed, height, width])
    y = (np.arange(height) + 0.5)[:, None, None] / height
    x = (np.arange(width) + 0.5)[None, :, None] / width
    contrast = np.where(y < 0.5, np.where(x < 0.4, 5, 40), np.where(x < 0.6, 110, 15))
    ramp = np.array(RGB_MEAN) + 60 * (x - 0.5) * [1, -1, 0.3] + 50 * (y - 0.5)
    noise = contrast * rng.uniform(-1, 1, (height, width, 3))
    return np.clip(np.round(ramp + noise), 0, 255).astype(np.float32)


# Pools, convolution, network (model, section 1)


def same_windows(n, k):
    """Slices of the windows of size and stride k over n cells, TensorFlow's SAME.

    ``p = max(0, (ceil(n/k) - 1) * k + k - n)`` cells of padding, floor(p/2) before and
    the rest after; cells of the padding belong to no window (model, section 1).
    """
    n_out = -(-n // k)
    padding = max(0, (n_out - 1) * k + k - n)
    before = padding // 2
    return [
        slice(max(0, i * k - before), min(n, i * k - before + k)) for i in range(n_out)
    ]


def _pool(x, k, reduce):
    x = np.asarray(x, np.float64)
    rows, columns = same_windows(x.shape[0], k), same_windows(x.shape[1], k)
    return np.stack(
        [np.stack([reduce(x[r, c], axis=(0, 1)) for c in columns]) for r in rows]
    )


def pool_mean(x, k):
    """Means over k x k windows; padding does not count (model, section 1)."""
    return _pool(x, k, np.mean)


def pool_max(x, k):
    """Maxima over k x k windows; padding is ignored (model, section 1)."""
    return _pool(x, k, np.max)


def relu(x):
    """New array with negative values set to 0 (model, section 6, trap 4)."""
    return np.where(x > 0, x, 0.0)


def conv3x3_same(x, kernel, bias):
    """Cross-correlation with a 3 x 3 kernel [3, 3, in, out], zero padding of 1."""
    height, width, n_in = x.shape
    padded = np.zeros((height + 2, width + 2, n_in))
    padded[1:-1, 1:-1] = x
    out = np.zeros((height, width, kernel.shape[3])) + np.asarray(bias, np.float64)
    for dy in range(3):
        for dx in range(3):
            window = padded[dy : dy + height, dx : dx + width]
            out += window @ np.asarray(kernel[dy, dx], np.float64)
    return out


def vgg19(params, image, taps):
    """{tap: features} of an image; the RGB mean is subtracted first, nothing else.

    Taps: ``conv{b}_{l}`` before its ReLU, ``relu{b}_{l}``, ``pool{b}``. Zero padding
    SAME, max pool 2 x 2 SAME after each block (model, section 1).
    """
    out = {}
    x = np.asarray(image, np.float64) - np.array(RGB_MEAN)
    for block, (n_layers, _, _) in enumerate(VGG19_LAYERS, start=1):
        for layer in range(1, n_layers + 1):
            values = params[f"conv{block}_{layer}"]
            out[f"conv{block}_{layer}"] = conv3x3_same(
                x, values["kernel"], values["bias"]
            )
            x = out[f"relu{block}_{layer}"] = relu(out[f"conv{block}_{layer}"])
        x = out[f"pool{block}"] = pool_max(x, 2)
    return {tap: out[tap] for tap in taps}


def deepgaze2_features(params, image):
    """The 2560 channels on the conv5 grid: 2 x 2 mean, VGG-19, five taps in order."""
    features = vgg19(params, pool_mean(image, 2), DEEPGAZE2_TAPS)
    return np.concatenate([features[tap] for tap in DEEPGAZE2_TAPS], axis=-1)


# Readout and finalizer (model, section 1)


def upsample_nearest(x, factor, height, width):
    """``out[i, j] = x[i // factor, j // factor]``, cropped at the top left."""
    out = np.zeros((height, width, *x.shape[2:]))
    for i in range(height):
        for j in range(width):
            out[i, j] = x[i // factor, j // factor]
    return out


def readout_upsample_first(readout, features, height, width):
    """Readout map [height, width] of features brought to that grid (x 8) beforehand.

    1x1 layers 16, 32, 2 with bias and ReLU; the last, 1, has neither (model, 1).
    """
    x = upsample_nearest(features, 8, height, width)
    for name in ("dense0", "dense1", "dense2"):
        kernel = np.asarray(readout[name]["kernel"], np.float64)
        x = relu(x @ kernel + np.asarray(readout[name]["bias"], np.float64))
    return (x @ np.asarray(readout["dense3"]["kernel"], np.float64))[..., 0]


def blur(x, sigma, radius=BLUR_RADIUS):
    """Map blurred by 2 * radius + 1 Gaussian taps per axis, edge cells replicated."""
    distance = np.arange(-radius, radius + 1)
    taps = np.exp(-(distance**2) / (2 * float(sigma) ** 2))
    taps /= taps.sum()
    out = np.asarray(x, np.float64)
    for axis in (0, 1):
        n = out.shape[axis]
        blurred = np.zeros_like(out)
        for d, weight in zip(distance, taps, strict=True):
            source = np.minimum(np.maximum(np.arange(n) + d, 0), n - 1)
            blurred += weight * np.take(out, source, axis=axis)
        out = blurred
    return out


def logsumexp(x):
    """Natural logarithm of the sum of exponentials over all elements."""
    largest = np.max(x)
    return largest + np.log(np.sum(np.exp(x - largest)))


def log_normalise(x):
    """Map minus its log-sum-exp."""
    x = np.asarray(x, np.float64)
    return x - logsumexp(x)


def finalize(readout_map, finalizer, center_bias, height, width, factor=4):
    """One fold's log density [height, width]; center_bias None leaves the term out.

    Args:
        readout_map: Map on the grid of every ``factor``-th pixel.
        finalizer: ``{"sigma_grid_px", "center_bias_weight"}``.
        center_bias: Log density [height, width] or None.
        height: Height of the image.
        width: Width of the image.
        factor: 4 for DeepGaze II, 8 for ICF.
    """
    out = blur(readout_map, finalizer["sigma_grid_px"])
    if center_bias is not None:
        out = out + finalizer["center_bias_weight"] * pool_mean(center_bias, factor)
    return log_normalise(upsample_nearest(log_normalise(out), factor, height, width))


def mixture(log_densities):
    """Log of the mean over the first axis of densities."""
    log_densities = np.asarray(log_densities, np.float64)
    largest = np.max(log_densities, axis=0)
    return largest + np.log(np.mean(np.exp(log_densities - largest), axis=0))


def deepgaze2(params, readouts, finalizers, image, center_bias):
    """Both outputs of DeepGaze II and what lies between, as a dictionary.

    Args:
        params: VGG-19 values.
        readouts: One ``{"dense0": {"kernel", "bias"}, ..., "dense3": {"kernel"}}`` per
            fold.
        finalizers: One ``{"sigma_grid_px", "center_bias_weight"}`` per fold.
        image: [height, width, 3].
        center_bias: Log density [height, width].

    Returns:
        ``log_density`` and ``log_density_without_center_bias`` [height, width];
        ``fold_log_densities``, ``fold_log_densities_without_center_bias``
        [folds, height, width]; ``readout_maps`` [folds, ceil(height / 4),
        ceil(width / 4)]; ``features``.
    """
    height, width = np.shape(image)[:2]
    features = deepgaze2_features(params, image)
    half = -(-height // 2), -(-width // 2)
    grid = -(-half[0] // 2), -(-half[1] // 2)
    maps = [readout_upsample_first(readout, features, *grid) for readout in readouts]
    pairs = list(zip(maps, finalizers, strict=True))
    with_bias = np.stack([finalize(m, f, center_bias, height, width) for m, f in pairs])
    without = np.stack([finalize(m, f, None, height, width) for m, f in pairs])
    return {
        "log_density": mixture(with_bias),
        "log_density_without_center_bias": mixture(without),
        "fold_log_densities": with_bias,
        "fold_log_densities_without_center_bias": without,
        "readout_maps": np.stack(maps),
        "features": features,
    }


# Scale (contract, "Coordinates, scale, units")


def _resize_matrix(n_in, n_out):
    """[n_out, n_in]: shares of overlap when shrinking, bilinear when enlarging."""
    matrix = np.zeros((n_out, n_in))
    for i in range(n_out):
        if n_out < n_in:
            # In units of 1 / n_out: output cell i covers [i, i + 1) * n_in of the
            # input, input cell j covers [j, j + 1) * n_out. Whole numbers throughout.
            for j in range(n_in):
                overlap = min((i + 1) * n_in, (j + 1) * n_out) - max(
                    i * n_in, j * n_out
                )
                matrix[i, j] = max(0, overlap) / n_in
        else:
            position = (i + 0.5) * n_in / n_out - 0.5
            low = int(np.floor(position))
            share = position - low
            matrix[i, min(max(low, 0), n_in - 1)] += 1 - share
            matrix[i, min(max(low + 1, 0), n_in - 1)] += share
    return matrix


def resize_image(image, height, width):
    """Image [height, width, ...]; each axis on its own, half-pixel centres.

    Shrinking averages the input weighted by covered area; enlarging is bilinear with
    edge cells continued outwards (contract).
    """
    image = np.asarray(image, np.float64)
    rows = _resize_matrix(image.shape[0], height)
    columns = _resize_matrix(image.shape[1], width)
    return np.einsum("ih,hw...,jw->ij...", rows, image, columns)


def map_back(log_density, height, width):
    """Log density [height, width] of the original grid, index floor((i+.5)*n_in/n_out).

    floor((i + 0.5) * n_in / n_out) is (2 i + 1) * n_in // (2 * n_out) (contract).
    """
    n_rows, n_columns = np.shape(log_density)
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            row = (2 * y + 1) * n_rows // (2 * height)
            column = (2 * x + 1) * n_columns // (2 * width)
            out[y, x] = log_density[row, column]
    return log_normalise(out)


# Center bias (model, section 2)


def center_bias_cells(x, y, image, image_sizes):
    """Row and column of each fixation on the 75 x 100 grid.

    ``image_sizes`` [images, 2] holds (height, width).
    """
    cells = []
    for xi, yi, i in zip(x, y, image, strict=True):
        height, width = image_sizes[i]
        row = int(np.floor(yi / height * CENTER_BIAS_SHAPE[0]))
        column = int(np.floor(xi / width * CENTER_BIAS_SHAPE[1]))
        cells.append((row, column))
    return cells


def center_bias_log_density(cells, bandwidth_fraction, uniform_weight):
    """Log density [75, 100] of fixations in ``cells``; uniform where there are none."""
    height, width = CENTER_BIAS_SHAPE
    counts = np.zeros(CENTER_BIAS_SHAPE)
    for row, column in cells:
        counts[row, column] += 1
    if not cells:
        return np.full(CENTER_BIAS_SHAPE, -np.log(height * width))
    sigma = bandwidth_fraction * height, bandwidth_fraction * width
    density = ndimage.gaussian_filter(
        counts / counts.sum(), sigma, mode="reflect", truncate=4.0
    )
    density = (1 - uniform_weight) * density + uniform_weight / (height * width)
    return log_normalise(np.log(density))


def center_bias_loo_log_likelihood(
    x, y, image, image_sizes, bandwidth_fraction, uniform_weight
):
    """Bits over uniform of each fixation [n] under the fixations of other images.

    For every image the whole estimate is made anew from the fixations of all the
    others (model, section 2) and read at its own fixations, on the 75 x 100 grid.
    """
    cells = center_bias_cells(x, y, image, image_sizes)
    out = np.zeros(len(cells))
    for left_out in sorted(set(int(i) for i in image)):
        others = [c for c, i in zip(cells, image, strict=True) if i != left_out]
        log_density = center_bias_log_density(
            others, bandwidth_fraction, uniform_weight
        )
        for n, (cell, i) in enumerate(zip(cells, image, strict=True)):
            if i == left_out:
                out[n] = (log_density[cell] + np.log(log_density.size)) / np.log(2)
    return out


# Metrics (contract, "Coordinates, scale, units")


def log_likelihood(log_density, x, y):
    """Bits over uniform of each fixation: log2 p(x, y) + log2(height * width)."""
    height, width = np.shape(log_density)
    out = []
    for xi, yi in zip(x, y, strict=True):
        p = np.exp(np.float64(log_density[int(np.floor(yi))][int(np.floor(xi))]))
        out.append(np.log2(p) + np.log2(height * width))
    return np.array(out, np.float64)


def information_gain(log_density, baseline_log_density, x, y):
    """Bits of each fixation over a baseline: log2 p_model - log2 p_baseline."""
    out = []
    for xi, yi in zip(x, y, strict=True):
        row, column = int(np.floor(yi)), int(np.floor(xi))
        model = np.float64(log_density[row][column])
        baseline = np.float64(baseline_log_density[row][column])
        out.append((model - baseline) / np.log(2))
    return np.array(out, np.float64)


def bootstrap_interval(values, level=0.95, n_resamples=2000, seed=0):
    """(low, high): percentile interval of the mean, values drawn with replacement."""
    values = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    means = sorted(
        float(np.mean(values[rng.integers(0, len(values), len(values))]))
        for _ in range(n_resamples)
    )
    return tuple(np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
