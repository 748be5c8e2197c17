"""`deepgaze weights`: the weights of feature networks."""

import json as json_format
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from deepgaze_jax import weights
from deepgaze_jax.cli.messages import Bar, UsageError, complain
from deepgaze_jax.cli.options import output as output_option
from deepgaze_jax.cli.options import unset
from deepgaze_jax.conversion.identify import KINDS
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.images import load_image
from deepgaze_jax.weight_conversion import (
    convert_weights,
    load_weights,
    parity_path,
    require_destination,
)
from deepgaze_jax.weight_inspection import inspect_weights, verify_weights
from deepgaze_jax.weight_scales import normalise_weights

__all__ = [
    "convert",
    "fetch",
    "inspect",
    "list_weights",
    "normalise",
    "verify",
]

_File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
_Kind = Annotated[str | None, unset("KIND")]
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def _require_kinds(*sources: str | None) -> None:
    unknown = [s for s in sources if s is not None and s not in KINDS]
    if unknown:
        kinds = ", ".join(KINDS)
        raise UsageError(f"there is no --source {unknown[0]}; choose one of {kinds}")


def fetch(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    /,
    file: Annotated[Path | None, tyro.conf.arg(help_behavior_hint="")] = None,
) -> int:
    """Get the weights of a feature network, once; later commands find them.

    Args:
        name: One of `deepgaze weights list`, for example vgg19.
        file: The original file, or the archive that carries it, already
            on this machine; then nothing is downloaded.
    """
    with Bar("B") as bar:
        path = weights.fetch(name, file, bar)
    print(path)
    return 0


def list_weights() -> int:
    """List the feature weights that can be fetched, and which are here."""
    rows = [("name", "family", "size", "here", "licence")]
    for name, entry in weights.REGISTRY.items():
        path = weights.cached_path(name)
        size = f"{entry.file.n_bytes / 1e6:.0f} MB"
        here = "yes" if path else "no"
        rows.append((name, entry.family, size, here, entry.licence))
    _print_table(rows)
    return 0


def convert(
    file: _File,
    /,
    output: Annotated[Path, output_option("FILE")],
    source: _Kind = None,
    json: bool = False,
) -> int:
    """Convert weights of any known format to a .safetensors file.

    Beside it lies a report, .parity.json: how far the features of the converted
    network are from those of the network in the file.

    Args:
        file: Keras, PyTorch, Caffe, MatConvNet, numpy, safetensors or TensorFlow
            weights; the authors' TF-1 release of DeepGaze II or ICF, or their
            PyTorch re-issue of DeepGaze I.
        output: The new file, .safetensors.
        source: What the file holds, where it does not tell itself: oxford-bgr,
            oxford-rgb, normalised-bgr, normalised-rgb or torchvision.
        json: Print the report.
    """
    _require_kinds(source)
    report = convert_weights(file, output, source)
    if json:
        print(json_format.dumps(report))
        return 0
    what = report.get("model", report.get("network"))
    family = f", family {report['family']}" if "family" in report else ""
    print(f"{output}: {what}{family}")
    for reason in report.get("evidence", ()):
        print(f"  {reason}")
    if "taps" in report:
        worst = max(report["taps"].values())
        print(f"  compared with {report['compared_with']}: differs by {worst:.1e}")
    print(f"  report: {parity_path(output)}")
    return 0


def inspect(file: _File, /, source: _Kind = None, json: bool = False) -> int:
    """Say what a weight file is, and what it lacks.

    Args:
        file: Of any format that convert takes.
        source: See deepgaze weights convert.
        json: Print a JSON object.
    """
    _require_kinds(source)
    found = inspect_weights(file, source)
    if json:
        print(json_format.dumps(found))
        return 0
    layers, means = found.pop("layers", {}), found.pop("mean_activations", {})
    unknown = {"family": "unknown: state it with --source", "expects": "unknown"}
    for name, value in found.items():
        value = "; ".join(value) if isinstance(value, list) else value
        value = value if value != "" else unknown.get(name, "nothing")
        print(f"{name.replace('_', ' '):14}{value}")
    rows = [("layer", "kernel", "mean activation")]
    for layer, shape in layers.items():
        mean = means.get(layer.replace("conv", "relu"))
        text = "" if mean is None else f"{mean:.4g}"
        rows.append((layer, "x".join(map(str, shape)), text))
    if layers:
        _print_table(rows)
    return 0


def verify(
    first: _File,
    second: _File,
    /,
    source: Annotated[tuple[str, ...], unset("KIND")] = (),
    json: bool = False,
) -> int:
    """Compare the feature weights of two files; exit code 1 if they differ.

    Args:
        first: Of any format that convert takes.
        second: Of any format that convert takes.
        source: One KIND for both files, or one for each; see deepgaze
            weights convert.
        json: Print a JSON object.
    """
    if len(source) > 2:
        raise UsageError(f"--source has {len(source)} values for two files")
    _require_kinds(*source)
    sources = (source[0], source[-1]) if source else (None, None)
    report = verify_weights(first, second, sources)
    if json:
        print(json_format.dumps(report))
        return 0 if report["same"] else 1
    for side in ("first", "second"):
        of = report[side]
        print(
            f"{of['file']}: {of['network']}, family {of['family']}, takes "
            f"{of['preprocessing']}"
        )
    rows = [("layer", "kernel", "bias")]
    rows += [
        (row["layer"], f"{row['kernel']:.1e}", f"{row['bias']:.1e}")
        for row in report["layers"]
    ]
    rows += [(tap, f"{error:.1e}", "") for tap, error in report["taps"].items()]
    _print_table(rows)
    if report["same"]:
        print("the same")
    elif report["rescaled"]:
        print(f"the second is the first rescaled, {report['rescaled']}")
    else:
        print("different")
    return 0 if report["same"] else 1


def normalise(
    file: _File,
    /,
    images: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    output: Annotated[Path, output_option("FILE")],
    source: _Kind = None,
) -> int:
    """Rescale the filters of VGG-19 to unit mean activation on a folder of pictures.

    The network computes the same function; its filters become equally strong.

    Args:
        file: Of any format that convert takes.
        images: Folder of pictures.
        output: The new file, .safetensors.
        source: See deepgaze weights convert.
    """
    _require_kinds(source)
    require_destination(output, file)
    if not images.is_dir():
        raise DataError(f"{images}: no such folder; give one with pictures")
    names = sorted(p for p in images.iterdir() if p.suffix.lower() in _PICTURES)
    if not names:
        raise DataError(f"{images}: has no pictures ({', '.join(_PICTURES)})")
    failed = []

    def pictures() -> Iterator[np.ndarray]:
        for name in names:
            try:
                yield load_image(name)
            except InputError as error:
                failed.append(name)
                complain(error)

    with Bar("image", "normalise") as bar:
        card = normalise_weights(
            load_weights(file, source),
            pictures(),
            output,
            lambda done: bar(done, len(names)),
        )
    print(f"{output}: {card['network']}, family {card['family']}")
    return 1 if failed else 0


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
