"""`deepgaze weights`: the weights of feature networks."""

from pathlib import Path
from typing import Annotated

import tyro

from deepgaze_jax import weights
from deepgaze_jax.cli.messages import Bar

__all__ = ["fetch", "list_weights"]


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
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0
