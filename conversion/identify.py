"""Which values a file holds, and what its first layer expects.

Names do not tell: two sets of values circulate under the same keys. The statistics of
the first kernel do. For each known set, `signatures.json` keeps some of them per filter
(never the values themselves), all divided by the length of the filter: the sums over
each colour, each row and each column, and the bias. A filter that was multiplied by a
positive number has the same ones, so family O and its rescaled form N share them and
differ in the lengths. The sums by colour tell RGB from BGR, those by row and column
whether the kernel was transposed.

The first layer is what networks that were trained further most often keep. So of the
layers above, the signature has how many values of a filter are positive, which no
rescaling changes, and no order of axes either, but training does.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deepgaze_jax.conversion.key_maps import Mapped
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.vgg import MEAN_RGB

__all__ = [
    "FAMILIES",
    "KINDS",
    "N_COUNTED",
    "Identity",
    "Preprocessing",
    "identify",
    "positive_counts",
    "preprocessing_of",
    "statistics",
]

#: What the letters mean.
FAMILIES: Mapping[str, str] = {
    "O": "Oxford (Simonyan and Zisserman 2014)",
    "T": "torchvision's own training",
    "N": "Oxford, rescaled to unit mean activation",
}

#: Names for `--source`: family, order of colours, how they are scaled.
KINDS: Mapping[str, tuple[str, str, str]] = {
    "oxford-bgr": ("O", "BGR", "mean"),
    "oxford-rgb": ("O", "RGB", "mean"),
    "normalised-bgr": ("N", "BGR", "mean"),
    "normalised-rgb": ("N", "RGB", "mean"),
    "torchvision": ("T", "RGB", "torchvision"),
}

_TORCH_MEAN = np.array([0.485, 0.456, 0.406])
_TORCH_STD = np.array([0.229, 0.224, 0.225])

# First digits of the sha256 of published files, which their names carry too.
_HASHES: Mapping[str, tuple[str, str]] = {
    "bde7da0d": ("vgg19", "O"),  # Keras
    "d01eb7cb": ("vgg19", "O"),  # jcjohnson
    "dcbb9e9d": ("vgg19", "T"),  # torchvision, as the next ones
    "c79401a0": ("vgg19", "T"),  # with batch norm
    "397923af": ("vgg16", "T"),
    "7be5be79": ("alexnet", "T"),
}

# Largest difference of statistics; half precision and printed digits stay below.
_TOLERANCE = 2e-3
# Lengths that differ by more than this were rescaled.
_LENGTH_TOLERANCE = 5e-3
# By how many a filter's positive values differ on average. Half precision changes 0.02,
# noise of a thousandth of the values' spread 0.2 or more.
_COUNT_TOLERANCE = 0.1
#: Filters of a layer that are counted.
N_COUNTED = 64


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What a network's first layer expects of RGB 0..255: `matrix @ (rgb - mean)`.

    Attributes:
        matrix: [3, 3] from red, green, blue to the channels of the kernel.
        mean: [3] RGB 0..255 that becomes zero, which is also what padding holds.
        text: for people.
    """

    matrix: np.ndarray
    mean: np.ndarray
    text: str


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a file of feature weights is.

    Attributes:
        family: `O`, `T` or `N`; empty where nothing tells.
        order: `RGB` or `BGR`; empty where nothing tells.
        transposed: whether height and width of the kernels are exchanged.
        scaling: `mean` (0..255 minus the mean) or `torchvision`.
        evidence: why, a line for each reason.
    """

    family: str
    order: str
    transposed: bool
    scaling: str
    evidence: tuple[str, ...]


def statistics(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return per-filter statistics of a first kernel and the lengths of its filters.

    Args:
        kernel: [height, width, 3, out].
        bias: [out].

    Returns:
        ([out, 3 + height + width + 1], [out]): sums over colours, rows, columns, and
        the bias, divided by the length; a filter of zeros has zeros.

    Example:
        >>> kernel = np.ones((1, 1, 3, 1))
        >>> statistics(kernel, np.zeros(1))[1].round(3)
        array([1.732])
    """
    kernel = np.asarray(kernel, np.float64)
    lengths = np.sqrt((kernel**2).sum((0, 1, 2)))
    sums = [kernel.sum((0, 1)), kernel.sum((1, 2)), kernel.sum((0, 2))]
    rows = np.concatenate([*sums, np.asarray(bias, np.float64)[None]])
    return (rows / np.where(lengths > 0, lengths, 1)).T, lengths


@functools.cache
def _signatures() -> dict[str, dict]:
    text = Path(__file__).with_name("signatures.json").read_text(encoding="utf-8")
    return json.loads(text)


def _find_signature(mapped: Mapped) -> tuple[str, str, bool, str] | None:
    """Return (family, order, transposed, evidence) of known values, or None."""
    network = mapped.key_map.network.name
    kernel, bias = _first_layer(mapped)
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        return None
    for signature in _signatures().values():
        if signature["network"] != network:
            continue
        filters = np.array(signature["filters"])
        known = np.array(
            [[np.nan if v is None else v for v in r] for r in signature["statistics"]]
        )
        for order in ("RGB", "BGR"):
            for transposed in (False, True):
                turned = kernel.transpose(1, 0, 2, 3) if transposed else kernel
                turned = turned[:, :, ::-1] if order == "BGR" else turned
                found, lengths = statistics(turned, bias)
                if found.shape[0] <= filters.max():
                    continue
                difference = np.nanmax(np.abs(found[filters] - known))
                if not difference <= _TOLERANCE:
                    continue
                ratios = lengths[filters] / np.array(signature["lengths"])
                family, text = _match(signature, order, transposed, difference, ratios)
                others = _other_layers(mapped, signature.get("positive", {}))
                if others:
                    text += f"; but {', '.join(others)} hold other values, as if the "
                    text += "network had been trained further"
                    family = ""
                return family, order, transposed, text
    return None


def _match(
    signature: dict, order: str, transposed: bool, difference: float, ratios: np.ndarray
) -> tuple[str, str]:
    family = signature["family"]
    n_filters = len(ratios)
    text = f"statistics of {n_filters} filters of the first kernel agree with family "
    text += f"{family} to {difference:.1e} in the order {order}"
    if transposed:
        text += ", height and width exchanged"
    if np.abs(ratios - 1).max() > _LENGTH_TOLERANCE:
        text += f"; the filters are {ratios.min():.3g} to {ratios.max():.3g} times as "
        text += "long"
        family = {"O": "N"}.get(family, "")
    return family, text


def positive_counts(kernel: np.ndarray) -> np.ndarray:
    """Return how many values of each of the first filters are above zero.

    Args:
        kernel: [height, width, in, out].

    Example:
        >>> positive_counts(np.array([[[[1.0, -2.0], [3.0, 0.0]]]]))
        array([2, 0])
    """
    return (kernel[..., :N_COUNTED] > 0).sum((0, 1, 2))


def _other_layers(mapped: Mapped, known: Mapping[str, list[int]]) -> list[str]:
    """Return the layers whose values are not the known ones; no missing layers."""
    others = []
    for layer, counts in known.items():
        kernel = mapped.layers.get(layer, {}).get("kernel")
        if kernel is None or kernel.ndim != 4:
            continue
        found = positive_counts(kernel)
        same = found.shape == (len(counts),)
        if not same or np.abs(found - counts).mean() > _COUNT_TOLERANCE:
            others.append(layer)
    return others


def identify(mapped: Mapped, sha256: str = "", source: str | None = None) -> Identity:
    """Return what a file of feature weights is, from everything that tells.

    The signature decides; then the hash of the file; then the classifier's keys, where
    no signature contradicts them; then what the user states.

    Args:
        mapped: the arrays of the file.
        sha256: of the file; empty to leave hashes out of account.
        source: one of `KINDS`, stated by the user.

    Returns:
        What was found; `family` and `order` are empty where nothing tells.

    Raises:
        WeightsError: an unknown source, or one that the values contradict.
    """
    if source is not None and source not in KINDS:
        raise WeightsError(
            f"there is no source {source!r}; choose one of {', '.join(KINDS)}"
        )
    network = mapped.key_map.network.name
    evidence = []
    family = order = ""
    transposed = False
    if not mapped.key_map.batch_norm:
        match = _find_signature(mapped)
        if match:
            family, order, transposed, text = match
            evidence.append(text)
    by_hash = _HASHES.get(sha256[:8])
    if by_hash and by_hash[0] == network:
        evidence.append(f"the sha256 of the file begins with {sha256[:8]}")
        family = family or by_hash[1]
    guess = _by_keys(mapped)
    if guess:
        evidence.append(guess[1])
        # Where the values of that family are known, keys that claim it prove nothing.
        known = {(s["network"], s["family"]) for s in _signatures().values()}
        if not family and (
            mapped.key_map.batch_norm or (network, guess[0]) not in known
        ):
            family = guess[0]
    if mapped.key_map.color_layer:
        # What the colour layer takes; what it makes of it is part of the file.
        order = order or "RGB"
    if family == "T":
        order = order or "RGB"
    scaling = "torchvision" if family == "T" else "mean"
    if source is None:
        return Identity(family, order, transposed, scaling, tuple(evidence))
    stated = KINDS[source]
    if mapped.key_map.color_layer:
        stated = (stated[0], order, "mean")
    found = (family or stated[0], order or stated[1])
    if found != stated[:2]:
        raise WeightsError(
            f"--source {source} states family {stated[0]} in the order {stated[1]}, but"
            f" these are values of family {found[0]} in the order {found[1]} "
            f"({'; '.join(evidence)}); leave --source out"
        )
    evidence.append(f"stated by the user: {source}")
    return Identity(*stated[:2], transposed, stated[2], tuple(evidence))


def _first_layer(mapped: Mapped) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of the first layer, a colour layer folded in."""
    layer = mapped.layers.get(mapped.key_map.network.first, {})
    kernel = layer["kernel"].astype(np.float64)
    bias = layer.get("bias", np.zeros(0))
    if np.shape(bias) != kernel.shape[-1:]:
        bias = np.full(kernel.shape[-1], np.nan)
    if mapped.key_map.color_layer:
        matrix, _ = _color_layer(mapped)
        kernel = np.einsum("hwjo,jc->hwco", kernel, matrix)
    return kernel, bias


def _color_layer(mapped: Mapped) -> tuple[np.ndarray, np.ndarray]:
    """Return (matrix, mean) of the colour layer: matrix @ (rgb - mean), rgb 0..255."""
    parts = mapped.layers.get("color", {})
    kernel, bias = parts.get("kernel"), parts.get("bias")
    if np.shape(kernel) != (1, 1, 3, 3) or np.shape(bias) != (3,):
        raise WeightsError("the colour layer 0 is not a 1x1 convolution from 3 to 3")
    # It takes RGB 0..1; kernels are [.., in, out].
    matrix = kernel[0, 0].astype(np.float64).T / 255
    if not np.linalg.cond(matrix) < 1e6:
        raise WeightsError("the colour layer 0 cannot be inverted; the file is damaged")
    return matrix, -np.linalg.solve(matrix, bias.astype(np.float64))


def _by_keys(mapped: Mapped) -> tuple[str, str] | None:
    """Return (family, evidence) that the keys above the convolutions suggest."""
    names = " ".join(mapped.classifier)
    if not mapped.key_map.style.startswith("PyTorch by index"):
        return None
    if mapped.key_map.network.name == "alexnet":
        # Its classifier has one set of keys everywhere, by chance jcjohnson's.
        return None
    for keys, family, whose in (
        (("classifier.0.", "classifier.3.", "classifier.6."), "T", "torchvision"),
        (("pre_logits.fc1.", "head.fc."), "T", "timm, which has torchvision's values"),
        (("classifier.1.", "classifier.4.", "classifier.6."), "O", "jcjohnson"),
    ):
        if all(key in names for key in keys):
            return family, f"the classifier's keys are those of {whose}"
    return None


def preprocessing_of(mapped: Mapped, identity: Identity) -> Preprocessing:
    """Return what the network of the file expects of RGB 0..255.

    Args:
        mapped: the arrays of the file.
        identity: with an order.

    Raises:
        WeightsError: a colour layer that cannot be used.

    Example:
        >>> kernel = np.zeros((64, 3, 3, 3))
        >>> from deepgaze_jax.conversion.key_maps import map_names
        >>> mapped = map_names({"conv1_1.weight": kernel})
        >>> preprocessing_of(mapped, Identity("O", "BGR", False, "mean", ())).text
        'BGR 0..255 minus mean 103.939 116.779 123.68'
    """
    if mapped.key_map.color_layer:
        matrix, mean = _color_layer(mapped)
        if identity.order == "BGR":
            matrix, mean = matrix[:, ::-1], mean[::-1]
        return Preprocessing(matrix, mean, f"{identity.order} 0..1 into a colour layer")
    if mapped.mean_rgb is not None:
        text = f"RGB 0..255 minus mean {' '.join(f'{v:g}' for v in mapped.mean_rgb)}"
        return Preprocessing(np.eye(3), mapped.mean_rgb, text)
    matrix = np.eye(3)[::-1] if identity.order == "BGR" else np.eye(3)
    if identity.scaling == "torchvision":
        text = f"{identity.order}/255 minus mean 0.485 0.456 0.406, divided by std "
        text += "0.229 0.224 0.225"
        matrix = matrix @ np.diag(1 / (255 * _TORCH_STD))
        return Preprocessing(matrix, 255 * _TORCH_MEAN, text)
    mean = MEAN_RGB[::-1] if identity.order == "BGR" else MEAN_RGB
    text = f"{identity.order} 0..255 minus mean {mean[0]} {mean[1]} {mean[2]}"
    return Preprocessing(matrix, np.array(MEAN_RGB), text)
