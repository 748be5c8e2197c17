"""Nested dictionaries and lists in, arrays under joined names out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.conversion.arrays import check_name
from deepgaze_jax.conversion.pickles import printable
from deepgaze_jax.errors import WeightsError

__all__ = ["named_arrays"]

MAX_DEPTH = 32
MAX_NODES = 100_000


def named_arrays(
    tree: Any,
    path: str | Path,
    separator: str,
    convert: Callable[[Any], Any],
    max_bytes: int,
) -> dict[str, np.ndarray]:
    """Return the arrays of nested dictionaries and lists under joined names.

    Values that are no arrays (an epoch, a date) are left out.

    Args:
        tree: what `deepgaze_jax.conversion.pickles.load` returned.
        path: named in errors.
        separator: between the keys on the way to an array; items of lists count from 0.
        convert: makes an array of a leaf (or a dictionary or list, which is searched
            in turn), None of one that is something else; a ValueError says what is
            wrong with it.
        max_bytes: limit for all arrays together.

    Raises:
        WeightsError: there is no named array, two have the same name, they are too
            large, or the nesting is deeper or larger than a file of weights needs.

    Example:
        >>> tree = {"conv1": [np.zeros(2), np.ones(1)], "epoch": 3}
        >>> list(named_arrays(tree, "file", "/", lambda value: value, 100))
        ['conv1/0', 'conv1/1']
    """
    arrays: dict[str, np.ndarray] = {}
    pending: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    n_nodes = n_bytes = 0
    while pending:
        keys, value = pending.pop()
        n_nodes += 1
        # A pickle of a few bytes can describe a tree with more nodes than there is
        # memory, by mentioning each branch twice, or one that contains itself.
        if len(keys) > MAX_DEPTH or n_nodes + len(pending) > MAX_NODES:
            raise WeightsError(
                f"{path}: is nested deeper than {MAX_DEPTH} levels or has more than "
                f"{MAX_NODES:,} entries; no file of weights needs so many"
            )
        if not isinstance(value, dict | list | tuple):
            try:
                value = convert(value)
            except (ValueError, TypeError, OverflowError) as error:
                where = printable(separator.join(keys)) or "it"
                raise WeightsError(
                    f"{path}: {where} is not readable: {error}"
                ) from error
        if isinstance(value, dict):
            items = [(_key_text(key), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            items = [(str(index), item) for index, item in enumerate(value)]
        else:
            items = []
        pending += [((*keys, key), item) for key, item in reversed(items)]
        if isinstance(value, np.ndarray) and keys:
            try:
                name = check_name(separator.join(keys))
            except ValueError as error:
                raise WeightsError(f"{path}: is damaged ({error})") from error
            if name in arrays:
                raise WeightsError(f"{path}: has two arrays named {name}")
            arrays[name] = value
            n_bytes += value.nbytes
        if n_bytes > max_bytes:
            raise WeightsError(
                f"{path}: its arrays take more than {max_bytes:,} bytes, which is the "
                "most that is read"
            )
    if not arrays:
        raise WeightsError(f"{path}: has no named arrays; expected weights by name")
    return arrays


def _key_text(key: str | bytes | int) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
