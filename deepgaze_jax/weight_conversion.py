"""Foreign weight files -> our safetensors, each with a report that it is right."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.architectures import ARCHITECTURES
from deepgaze_jax.center_bias import CENTER_BIAS_SHAPE
from deepgaze_jax.conversion.assemble import assemble, expected_input
from deepgaze_jax.conversion.containers import WeightFile, read_any
from deepgaze_jax.conversion.identify import (
    FAMILIES,
    KINDS,
    Identity,
    identify,
    preprocessing_of,
)
from deepgaze_jax.conversion.key_maps import Mapped, map_names
from deepgaze_jax.conversion.releases import Release, release_of
from deepgaze_jax.conversion.vgg19 import Params
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.files import write_text
from deepgaze_jax.model_cards import model_of_card, nested
from deepgaze_jax.model_files import (
    FORMAT_VERSION,
    check_version,
    load_model,
    read_card,
    save_model,
    write_tensors,
)
from deepgaze_jax.weight_parity import parity_report

__all__ = [
    "Converted",
    "convert_weights",
    "identity_of",
    "is_model_without_features",
    "load_weights",
    "named_features",
    "parity_path",
    "require_destination",
    "with_path",
]

_LICENCES = {
    "O": "CC BY (K. Simonyan and A. Zisserman, Visual Geometry Group, Oxford)",
    "N": "CC BY (K. Simonyan and A. Zisserman; rescaled by L. Gatys et al.)",
    "T": "BSD 3-Clause (torchvision)",
}
# What rescaled_family names has eight digits behind the letter.
_FAMILY = re.compile(r"[OTN?]|N-[0-9a-f]{8}")
_RELEASE_LICENCE = (
    "not stated by the authors (M. Kümmerer et al.): for your own use, do not pass on"
)


@dataclasses.dataclass(frozen=True)
class Converted:
    """Feature weights in memory.

    Attributes:
        params: for RGB input, see `deepgaze_jax.conversion.assemble.assemble`.
        mapped: the arrays as the file had them.
        identity: what they are.
        card: network, family, what they expect, and where they come from.
    """

    params: Params
    mapped: Mapped
    identity: Identity
    card: dict[str, Any]


def identity_of(
    file: WeightFile, mapped: Mapped, source: str | None, use_hash: bool = True
) -> Identity:
    """Return what a file is; one of this package says so itself, in its card.

    Args:
        file: whose features they are.
        mapped: its features.
        source: one of `KINDS`, stated by the user.
        use_hash: whether the hash of the file may tell.

    Raises:
        WeightsError: see `deepgaze_jax.conversion.identify.identify`; a card that does
            not fit the values; or a source is stated where the file leaves no question.
    """
    if mapped.key_map.style == "deepgaze-jax" and file.container == "safetensors":
        card = read_card(file.path)
        if "format_version" in card:
            check_version(file.path, card)
            return _identity_in(card, mapped, source)
    release = release_of(file.arrays)
    if release and release.name == "deepgaze1" and source is not None:
        raise WeightsError(
            f"{file.path}: is DeepGaze I, whose class says what its network is given; "
            "leave --source out"
        )
    identity = identify(mapped, file.sha256 if use_hash else "", source)
    return _of_release(identity, release.name) if release else identity


def _of_release(identity: Identity, release: str) -> Identity:
    """Return what the features of a release are, given what their values tell."""
    if release == "deepgaze2" and identity.family in ("", "N"):
        reason = "the authors' release has family N"
        return dataclasses.replace(
            identity, family="N", evidence=(*identity.evidence, reason)
        )
    if release == "deepgaze1":
        # Its class fixes what the network is given, whatever the values are.
        plain = identity.order == "RGB" and not identity.transposed
        family = "T" if identity.family == "T" and plain else "?"
        reason = "DeepGaze I gives its network RGB as torchvision does"
        evidence = (*identity.evidence, reason)
        return Identity(family, "RGB", False, "torchvision", evidence)
    return identity


def _preprocessing(card: Mapping[str, Any]) -> str:
    """Return what the features of a card expect; that of a model has a card of them."""
    features = card.get("features")
    card = features if isinstance(features, Mapping) else card
    return str(card.get("preprocessing", ""))


def _identity_in(
    card: Mapping[str, Any], mapped: Mapped, source: str | None
) -> Identity:
    family, network = card.get("family"), mapped.key_map.network.name
    known = isinstance(family, str) and _FAMILY.fullmatch(family)
    if not known or card.get("network") != network:
        raise WeightsError(
            f"has a card that names no family of {network}, whose weights these are; "
            "convert the original file again"
        )
    if source is not None:
        raise WeightsError(
            f"was converted before, its card states family {family}; leave --source out"
        )
    found = identify(mapped)
    stated = (family[:1], "RGB")
    if family != "?" and found.family and (found.family, found.order) != stated:
        raise WeightsError(
            f"has a card that states family {family} in the order RGB, but these are "
            f"values of family {found.family} in the order {found.order} "
            f"({'; '.join(found.evidence)}); convert the original file again"
        )
    torch = _preprocessing(card).startswith("RGB/255")
    scaling = "torchvision" if torch else "mean"
    return Identity(
        family, "RGB", False, scaling, ("its card says so", *found.evidence)
    )


def load_weights(
    path: str | Path, source: str | None = None, *, use_hash: bool = True
) -> Converted:
    """Return the feature weights of a file of any format, for RGB input.

    Args:
        path: a foreign file, a converted one, or one that holds a whole model.
        source: one of `KINDS`, where the file itself does not tell.
        use_hash: whether the hash of the file may tell.

    Raises:
        WeightsError: unreadable, incomplete, or of a kind that has to be stated.

    Example:
        >>> load_weights("vgg19.pth").card["family"]  # doctest: +SKIP
        'T'
    """
    return _of_file(read_any(path), source, use_hash)


def _of_file(file: WeightFile, source: str | None, use_hash: bool = True) -> Converted:
    arrays: Mapping[str, np.ndarray] = file.arrays
    release = release_of(arrays)
    if release and release.name == "icf":
        raise WeightsError(f"{file.path}: is the release of ICF, which has no features")
    if release and release.name == "deepgaze2" and source in KINDS:
        family = KINDS[source][0]
        if family != "N":
            raise WeightsError(
                f"{file.path}: the authors' release has family N, --source {source} "
                f"states {family}; state normalised-bgr or normalised-rgb"
            )
    arrays = release.features_of(arrays) if release else arrays
    if is_model_without_features(arrays):
        raise WeightsError(
            f"{file.path}: is a model of this package without features, so there is "
            "nothing to convert or compare; give it with --model"
        )
    try:
        mapped = map_names(arrays)
        identity = identity_of(file, mapped, source, use_hash)
        _require_known(identity)
        params = assemble(mapped, identity)
        expected = preprocessing_of(mapped, identity).text
    except WeightsError as error:
        raise with_path(file.path, error) from error
    network = mapped.key_map.network.name
    card = {
        "format_version": FORMAT_VERSION,
        "network": network,
        "family": identity.family,
        "preprocessing": expected_input(network, identity, params),
        "licence": _LICENCES.get(identity.family[:1], "unknown"),
        "source": file.path.name,
        "source_sha256": file.sha256,
        "source_container": file.container,
        "source_names": mapped.key_map.style,
        "source_preprocessing": expected,
        "evidence": list(identity.evidence),
    }
    return Converted(params, mapped, identity, card)


def with_path(path: Path, error: WeightsError) -> WeightsError:
    """Return the error with the path of the file in its line.

    Example:
        >>> str(with_path(Path("a.h5"), WeightsError("is empty")))
        'a.h5: is empty'
    """
    line = str(error)
    return error if str(path) in line else WeightsError(f"{path}: {line}")


def _require_known(identity: Identity) -> None:
    if identity.family and identity.order:
        return
    lacks = "which values these are" if not identity.family else "the order of colours"
    found = "; ".join(identity.evidence) or "the values of no known file"
    kinds = ", ".join(
        f"{kind} ({FAMILIES[family]}, {order})"
        for kind, (family, order, _) in KINDS.items()
        if identity.family in ("", family)
    )
    raise WeightsError(
        f"does not tell {lacks} ({found}); state it with --source KIND: {kinds}"
    )


def is_model_without_features(names: Mapping[str, object]) -> bool:
    """Return whether these are the names of a model file that holds no features.

    Example:
        >>> is_model_without_features({"readout/dense0/kernel": 0})
        True
    """
    tops = {name.partition("/")[0] for name in names}
    return "readout" in tops and "features" not in tops


def parity_path(destination: str | Path) -> Path:
    """Return where the report of a conversion goes.

    Example:
        >>> parity_path("vgg.safetensors").name
        'vgg.parity.json'
    """
    return Path(destination).with_suffix(".parity.json")


def require_destination(destination: Path, source: str | Path | None = None) -> None:
    """Refuse a place for converted weights before any work is done; returns nothing.

    Args:
        destination: where they would go.
        source: what they would be made from, which must not be replaced.

    Raises:
        WeightsError: another ending, no such folder, a folder, or the source.
    """
    if destination.suffix != ".safetensors":
        raise WeightsError(f"{destination}: the result must end in .safetensors")
    if not destination.parent.is_dir():
        raise WeightsError(f"{destination.parent}: no such folder; make it first")
    if destination.is_dir():
        raise WeightsError(f"{destination}: is a folder; name a file")
    both = source is not None and destination.exists() and Path(source).exists()
    if both and destination.samefile(source):
        raise WeightsError(f"{destination}: would overwrite its own source")


def convert_weights(
    path: str | Path,
    destination: str | Path,
    source: str | None = None,
    *,
    use_hash: bool = True,
) -> dict[str, Any]:
    """Convert a file of any known format, and return the report of parity.

    Feature weights become `features/...` with a card; a file that holds a whole model
    (one of `RELEASES`) becomes a model (`deepgaze predict --model`). Beside the result
    lies the report, `.parity.json`.

    Args:
        path: see `load_weights`.
        destination: ends in `.safetensors`; replaced in one step if it exists.
        source: one of `KINDS`, where the file itself does not tell.
        use_hash: whether the hash of the file may tell.

    Returns:
        `{"network", "family", "evidence", "compared_with", "taps": {tap: error}, ...}`.

    Raises:
        WeightsError: see `load_weights`; or the result does not agree with the
            network of the file, and then nothing is written.
    """
    destination = Path(destination)
    require_destination(destination, path)
    if parity_path(destination).is_dir():
        raise WeightsError(f"{parity_path(destination)}: is a folder; move it away")
    file = read_any(path)
    release = release_of(file.arrays)
    tensors = _model_tensors(file, release) if release else {}
    report: dict[str, Any] = {"source": file.path.name, "source_sha256": file.sha256}
    converted = None
    if release is None or release.name != "icf":
        converted = _of_file(file, source, use_hash)
        report |= {k: converted.card[k] for k in ("network", "family", "evidence")}
        report |= parity_report(converted.mapped, converted.identity, converted.params)
        if not np.isfinite(list(report["taps"].values())).all():
            raise WeightsError(
                f"{file.path}: its features are not finite numbers: the values are too "
                "large for a network; the file is damaged"
            )
        if not report["passed"]:
            raise WeightsError(
                f"{file.path}: after conversion the features differ from those of the "
                f"file's own network ({report['taps']}); this is a defect of "
                "deepgaze-jax, please report it"
            )
    if release:
        tensors, card = _model(file, release, tensors, converted)
        save_model(destination, tensors, card)
        stored, _ = load_model(destination)
        report |= {"model": release.name, "tensors": len(file.arrays)}
        report["readout_identical"] = all(
            np.array_equal(stored[name], array) for name, array in tensors.items()
        )
    else:
        write_tensors(destination, named_features(converted.params), converted.card)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    write_text(parity_path(destination), text + "\n")
    return report


def named_features(params: Params) -> dict[str, np.ndarray]:
    """Return parameters under the names that they have in a file.

    Example:
        >>> list(named_features({"conv1_1": {"bias": np.zeros(2)}}))
        ['features/conv1_1/bias']
    """
    return {
        f"features/{layer}/{part}": array
        for layer, parts in params.items()
        for part, array in parts.items()
    }


def _model_tensors(file: WeightFile, release: Release) -> dict[str, np.ndarray]:
    try:
        return release.model_tensors(file.arrays)
    except WeightsError as error:
        raise WeightsError(f"{file.path}: {error}") from error


def _model(
    file: WeightFile,
    release: Release,
    tensors: Mapping[str, np.ndarray],
    converted: Converted | None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return all tensors of a model and its card."""
    n_folds = len(tensors["finalizer/sigma_grid_px"])
    # The release takes the center bias as an input; without one, all is equally likely.
    uniform = np.full((n_folds + 1, *CENTER_BIAS_SHAPE), -np.log(75 * 100), np.float32)
    tensors = {**tensors, "center_bias/log_density": uniform}
    card = {
        "format_version": FORMAT_VERSION,
        "title": f"{release.name}, {release.title}",
        "data": release.data,
        "center_bias": "uniform: the release takes it as an input; give your own with "
        "--center-bias",
        "pixels_per_dva": 35.0,
        "input_scale": 1.0,
        "folds": [],
        "images": [],
        "licence": _RELEASE_LICENCE,
        "source": file.path.name,
        "source_sha256": file.sha256,
    }
    card |= {"notes": release.notes} if release.notes else {}
    card["model"] = dataclasses.asdict(ARCHITECTURES[release.name]())
    # Whoever loads it must not be the first to see that it cannot be computed.
    model_of_card(card, nested(tensors), file.path)
    if converted is None:
        return tensors, card | {"network": "icf", "family": "icf"}
    features = {k: converted.card[k] for k in ("network", "family", "preprocessing")}
    card["features"] = features
    card |= {k: features[k] for k in ("network", "family")}
    return named_features(converted.params) | tensors, card
