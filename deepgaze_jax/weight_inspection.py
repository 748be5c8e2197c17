"""What a weight file holds, and how two of them differ."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.conversion.containers import WeightFile, read_any
from deepgaze_jax.conversion.identify import FAMILIES, Identity, preprocessing_of
from deepgaze_jax.conversion.key_maps import Mapped, map_names
from deepgaze_jax.conversion.releases import release_of
from deepgaze_jax.conversion.slow_network import fixed_picture
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.feature_networks import NETWORKS
from deepgaze_jax.model_files import read_card
from deepgaze_jax.vgg import vgg19_features
from deepgaze_jax.weight_conversion import (
    Converted,
    identity_of,
    is_model_without_features,
    load_weights,
    with_path,
)
from deepgaze_jax.weight_parity import TOLERANCE, max_norm_error, mean_activations
from deepgaze_jax.weight_scales import recover_scales

__all__ = ["inspect_weights", "verify_weights"]

_TAPS = ("conv5_1", "relu5_1", "relu5_2", "conv5_3", "relu5_4")


def inspect_weights(
    path: str | Path, source: str | None = None, *, use_hash: bool = True
) -> dict[str, Any]:
    """Return what a weight file is, as far as it can be told.

    Args:
        path: of any known format; it may lack layers or be of an unknown family.
        source: one of `KINDS`, where the file itself does not tell.
        use_hash: whether the hash of the file may tell.

    Returns:
        `{"container", "sha256", "what", "names", "axes", "network", "layers": {name:
        shape}, "family", "evidence", "expects", "missing", "mean_activations"}`;
        what is not known is left empty.

    Raises:
        WeightsError: unreadable, or its names are those of no known network.
    """
    file = read_any(path)
    found: dict[str, Any] = {
        "file": str(file.path),
        "container": file.container,
        "sha256": file.sha256,
        "arrays": len(file.arrays),
    }
    release = release_of(file.arrays)
    arrays = file.arrays
    problems = []
    if release:
        try:
            release.model_tensors(arrays)
        except WeightsError as error:
            problems.append(str(error))
        arrays = release.features_of(arrays)
        if not arrays:
            what = f"readouts of {release.name}, {release.title}"
            return found | {"what": what, "missing": "; ".join(problems)}
    elif is_model_without_features(arrays):
        return found | _model_card(file)
    try:
        mapped = map_names(arrays)
        identity = identity_of(file, mapped, source, use_hash)
    except WeightsError as error:
        raise with_path(file.path, error) from error
    try:
        mapped.params()
    except WeightsError as error:
        problems.append(str(error))
    what = "feature weights"
    if release:
        what = f"{release.name}, {release.title}: features and {release.readouts}"
    elif _is_model(file.arrays):
        what = "a model with its features"
    return found | _description(mapped, identity, what, problems)


def _model_card(file: WeightFile) -> dict[str, Any]:
    """Return what the card of a model says of the features that it needs."""
    card = read_card(file.path) if file.container == "safetensors" else {}
    network, family = (str(card.get(key, ""))[:20] for key in ("network", "family"))
    what = "a model without its features; it needs those of this family"
    if network in NETWORKS and not NETWORKS[network].has_weights:
        what = "a model whose features need no weights"
    return {
        "what": what,
        "network": ascii(network)[1:-1],
        "family": _with_name(ascii(family)[1:-1]),
        "missing": "",
    }


def _with_name(family: str) -> str:
    """Return a family with what its letter means."""
    name = {**FAMILIES, "?": "values of no known file"}.get(family[:1])
    return f"{family} ({name})" if name else family


def _is_model(names: Mapping[str, object]) -> bool:
    return any(name.startswith("readout/") for name in names)


def _description(
    mapped: Mapped, identity: Identity, what: str, problems: list[str]
) -> dict[str, Any]:
    family = identity.family
    known = bool(family and identity.order)
    means = {}
    # A file that ends early is computed as far as it goes; any other defect is not.
    whole = not problems or not mapped.key_map.batch_norm
    if known and whole and not any("wrong:" in problem for problem in problems):
        means = mean_activations(mapped, identity)
    return {
        "what": what,
        "names": mapped.key_map.style,
        "axes": mapped.axes,
        "network": mapped.key_map.network.name,
        "layers": {
            layer: list(mapped.layers[layer]["kernel"].shape)
            for layer in mapped.key_map.network.channels
            if "kernel" in mapped.layers.get(layer, {})
        },
        "classifier": bool(mapped.classifier),
        "family": _with_name(family),
        "evidence": list(identity.evidence),
        "expects": preprocessing_of(mapped, identity).text if known else "",
        "missing": "; ".join(problems),
        "mean_activations": means,
    }


def verify_weights(
    first: str | Path,
    second: str | Path,
    sources: tuple[str | None, str | None] = (None, None),
) -> dict[str, Any]:
    """Return how the feature weights of two files differ, layer by layer.

    Args:
        first: of any known format.
        second: of any known format; what errors are relative to.
        sources: one of `KINDS` for each file, where it does not tell itself.

    Returns:
        `{"first", "second", "layers": [{"layer", "kernel", "bias"}], "taps": {tap:
        error}, "rescaled", "same"}`; errors are max|a - b| / max|b|. `rescaled`: the
        second has the filters of the first times positive factors, which computes the
        same function on other scales. `same` also takes what the networks
        expect of a picture into account.

    Raises:
        WeightsError: a file cannot be read, or they are of different networks.
    """
    files = [
        load_weights(path, source)
        for path, source in zip((first, second), sources, strict=True)
    ]
    a, b = files
    if a.card["network"] != b.card["network"]:
        raise WeightsError(
            f"{first} is {a.card['network']}, {second} is {b.card['network']}; only "
            "weights of one network can be compared"
        )
    layers = [
        {
            "layer": layer,
            **{
                part: max_norm_error(a.params[layer][part], b.params[layer][part])
                for part in a.params[layer]
            },
        }
        for layer in a.mapped.key_map.network.channels
    ]
    errors = [value for row in layers for key, value in row.items() if key != "layer"]
    taps = _tap_errors(a, b)
    return {
        "first": _side(first, a),
        "second": _side(second, b),
        "layers": layers,
        "taps": taps,
        "rescaled": _rescaled(a, b),
        "tolerance": TOLERANCE,
        "same": all(e <= TOLERANCE for e in [*errors, *taps.values()])
        and (bool(taps) or a.card["preprocessing"] == b.card["preprocessing"]),
    }


def _side(path: str | Path, side: Converted) -> dict[str, Any]:
    keys = ("network", "family", "preprocessing", "evidence")
    return {"file": str(path)} | {key: side.card[key] for key in keys}


def _tap_errors(a: Converted, b: Converted) -> dict[str, float]:
    if a.card["network"] != "vgg19":
        return {}
    picture = fixed_picture().astype(np.float32)
    found, expected = (vgg19_features(s.params, picture, _TAPS) for s in (a, b))
    return {tap: max_norm_error(found[tap], np.asarray(expected[tap])) for tap in _TAPS}


def _rescaled(a: Converted, b: Converted) -> str:
    """Return how strongly the filters of b are those of a; empty if they are others."""
    if a.card["network"] != "vgg19":
        return ""
    try:
        scales = recover_scales(a.params, b.params)
    except WeightsError:
        return ""
    factors = np.concatenate(list(scales.values()))
    return f"factors from {factors.min():.3g} to {factors.max():.3g}"
