"""Folders of predictions made elsewhere: log densities, or saliency maps.

A file belongs to an image if it is called like it: `1.npy`, `1.jpg.npy` or
`1_log_density.npy` for the image `1.jpg`, below the same folders.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import whosmat
from scipy.io.matlab import MatReadError

from deepgaze_jax.conversion.mat_file import read_variables
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import DataError, InputError, WeightsError
from deepgaze_jax.evaluation.baselines import FITTED_ON, CrossFit
from deepgaze_jax.evaluation.predictions import Part, Prediction
from deepgaze_jax.images import MAX_PIXELS, load_image
from deepgaze_jax.map_checks import check_log_density
from deepgaze_jax.ops import resize_image
from deepgaze_jax.to_density import MapSample, ToDensity, fit_to_density, sample_map

__all__ = [
    "LogDensityFolder",
    "SaliencyMapFolder",
    "find_maps",
    "kind_of_folder",
    "read_map",
]

_MAP_SUFFIXES = (".png", ".jpg", ".jpeg", ".mat")
_SUFFIXES = (".npy", *_MAP_SUFFIXES)
_ENDINGS = ("", "_log_density")
# Grey pictures stored as colour differ a little between channels after JPEG.
_MAX_COLOUR = 12.0
# Images of each fold that maps are fitted on: more change nothing but the time.
_IMAGES_OF_FOLD = 15


def kind_of_folder(folder: str | Path) -> str | None:
    """Returns the suffix of the maps in a folder, ".npy" first; None if it has none.

    Args:
        folder: searched with the folders below it.
    """
    found = {path.suffix.lower() for path in _visible(Path(folder))}
    return next((suffix for suffix in _SUFFIXES if suffix in found), None)


def find_maps(folder: str | Path, dataset: FixationDataset) -> tuple[Path, ...]:
    """Returns the file of each image that has fixations (of the others too, if any).

    Args:
        folder: with one file for each image.
        dataset: whose images they are.

    Raises:
        DataError: an image has no file, or several.
    """
    folder = Path(folder)
    kind = kind_of_folder(folder)
    suffixes = (".npy",) if kind == ".npy" else _MAP_SUFFIXES
    by_name: dict[str, list[Path]] = {}
    for path in sorted(_visible(folder)):
        if path.suffix.lower() in suffixes:
            inside = path.relative_to(folder).with_suffix("").as_posix()
            by_name.setdefault(inside, []).append(path)
    looked_at = np.unique(dataset.fixations.image)
    files, missing = [], []
    for index, name in enumerate(dataset.image_names):
        stem = Path(name).with_suffix("").as_posix()
        # Under the full name first: stems may be shared.
        keys = [f"{base}{ending}" for base in (name, stem) for ending in _ENDINGS]
        found = next((by_name[key] for key in keys if key in by_name), [])
        if len(found) > 1:
            raise DataError(
                f"{folder}: image {name} has the files {found[0].name} and "
                f"{found[1].name}; leave one for each image"
            )
        if not found and index in looked_at:
            missing.append(name)
        files.append(found[0] if found else folder / name)
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(dataset)} images have no "
            f"{'/'.join(suffixes)} file, first {missing[0]}; add them (named like the "
            "image), or evaluate on the images that you have"
        )
    return tuple(files)


def _visible(folder: Path) -> Iterator[Path]:
    """Yields the files in a folder and below it, without hidden ones ("._1.npy")."""
    for path in folder.rglob("*"):
        if path.name[0] != "." and path.is_file():
            yield path


def read_map(path: str | Path) -> np.ndarray:
    """Returns the saliency map in a picture or MATLAB file, float64 [height, width].

    Args:
        path: grey picture, or MATLAB file with one variable that is a map.

    Raises:
        InputError: a coloured picture, no or several maps, a damaged file.
    """
    path = Path(path)
    if path.suffix.lower() == ".mat":
        return _matlab_map(path)
    picture = load_image(path)
    colour = np.ptp(picture, axis=-1).mean()
    if colour > _MAX_COLOUR:
        raise InputError(
            f"{path}: is coloured, and colours of a heat map have no order; give the "
            "grey values it was made of"
        )
    return picture.mean(axis=-1, dtype=np.float64)


class LogDensityFolder:
    """Log densities in `.npy` files, one for each image at its size.

    Args:
        folder: with the files.
        dataset: images and fixations.
        name: what tables call the model.
    """

    is_costly = False

    def __init__(self, folder: str | Path, dataset: FixationDataset, name: str) -> None:
        self.name = name
        self._files = find_maps(folder, dataset)

    def identity(self) -> dict[str, Any]:
        """Returns what the model is, ready for JSON."""
        return {
            "kind": "folder of log densities",
            "files": _fingerprint(self._files),
            # Nobody can tell from an array.
            "trained_on_these_images": "unknown",
        }

    def card(self) -> dict[str, Any]:
        """Returns the identity: nothing is fitted here."""
        return self.identity()

    def predict(self, index: int) -> Prediction:
        """Returns the log density of an image.

        Raises:
            InputError: the file is no array of numpy, or no log density.
        """
        path = self._files[index]
        try:
            # Mapped, so that a header cannot ask for more memory than the file has.
            array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
        except (ValueError, EOFError) as error:
            # NumPy's own text advises to unpickle what it does not know.
            raise InputError(
                f"{path}: is no array of numbers from numpy.save, or is damaged; write "
                "it again"
            ) from error
        try:
            check_log_density(array)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return Prediction((Part(array),))


class SaliencyMapFolder:
    """Saliency maps in pictures or MATLAB files, made into densities.

    Blur, nonlinearity and center bias are fitted on training images of the fold that an
    image is a test image of. Maps of another size are resized to their image.

    Args:
        folder: with the files.
        cross_fit: of the data set.
        name: what tables call the model.
    """

    is_costly = False

    def __init__(self, folder: str | Path, cross_fit: CrossFit, name: str) -> None:
        self.name = name
        self._cross_fit, self._dataset = cross_fit, cross_fit.dataset
        self._files = find_maps(folder, self._dataset)

    def identity(self) -> dict[str, Any]:
        """Returns what the model is, ready for JSON."""
        return {
            "kind": "folder of saliency maps, made into densities by monotone "
            "nonlinearity, blur and center bias",
            "files": _fingerprint(self._files),
            "fitted_on": FITTED_ON,
            "trained_on_these_images": "unknown",
        }

    def card(self) -> dict[str, Any]:
        """Returns the identity with the fit of each fold."""
        fits = [dataclasses.asdict(fit) for fit in self.fits]
        return {**self.identity(), "parameters": fits}

    def predict(self, index: int) -> Prediction:
        """Returns the density that an image's map stands for.

        Raises:
            InputError: see `read_map`.
        """
        fold = int(self._cross_fit.fold_of[index])
        center_bias = self._cross_fit.center_bias(index)
        log_density = self.fits[fold].log_density(self._map(index), center_bias)
        return Prediction((Part(log_density),), fold)

    def _map(self, index: int) -> np.ndarray:
        size = tuple(map(int, self._dataset.image_sizes[index]))
        path = self._files[index]
        saliency_map = read_map(path)
        finite = np.isfinite(saliency_map)
        if not finite.all():
            raise InputError(
                f"{path}: {int((~finite).sum())} of {finite.size} values are not "
                "finite; expected a number at every pixel"
            )
        if saliency_map.shape == size:
            return saliency_map
        return resize_image(saliency_map[..., None], *size)[..., 0].astype(np.float64)

    @functools.cached_property
    def fits(self) -> tuple[ToDensity, ...]:
        """The fit of each fold, made when it is first needed."""
        folds, fixations = self._cross_fit.folds, self._dataset.fixations
        looked_at = np.unique(fixations.image)
        # Test parts cover the data set; a few images of each are enough.
        chosen = [
            _some(np.intersect1d(fold.test, looked_at), _IMAGES_OF_FOLD)
            for fold in folds
        ]
        samples: dict[int, MapSample] = {}
        total = sum(map(len, chosen))
        for index in sorted(int(index) for part in chosen for index in part):
            self._cross_fit.tell(len(samples), total, f"fitting {self.name}")
            points = fixations.of_images(index)
            samples[index] = sample_map(self._map(index), points.x, points.y)
        self._cross_fit.tell(total, total, f"fitting {self.name}")
        fits = []
        for number, fold in enumerate(folds):
            used = [i for i in fold.train if i in samples]
            biases = self._cross_fit.training_center_biases(number, used)
            fits.append(fit_to_density([samples[i] for i in used], biases))
        return tuple(fits)


def _some(indices: np.ndarray, wanted: int) -> np.ndarray:
    """Returns so many of the indices, evenly spread; all, if there are fewer."""
    if len(indices) <= wanted:
        return indices
    return indices[np.arange(wanted) * len(indices) // wanted]


def _matlab_map(path: Path) -> np.ndarray:
    try:
        if h5py.is_hdf5(path):
            return _matlab_7_3_map(path)
        names = [name for name, shape, _ in whosmat(path) if _is_map(shape)]
        found = read_variables(path, tuple(names), 8 * MAX_PIXELS)
    except (OSError, ValueError, TypeError, MatReadError, WeightsError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: is not a readable MATLAB file ({line})") from error
    maps = {
        name: value
        for name, value in found.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
    }
    return _only_map(path, maps).astype(np.float64)


def _matlab_7_3_map(path: Path) -> np.ndarray:
    with h5py.File(path, "r") as file:
        maps = {
            name: item
            for name, item in file.items()
            if isinstance(item, h5py.Dataset)
            and item.dtype.kind in "fiu"
            and _is_map(item.shape)
        }
        # MATLAB writes columns first.
        return _only_map(path, maps)[()].T.astype(np.float64)


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and 1 < min(shape) and shape[0] * shape[1] <= MAX_PIXELS


def _only_map(path: Path, maps: dict[str, Any]) -> Any:
    if len(maps) != 1:
        found = ", ".join(sorted(maps)) or "none"
        raise InputError(
            f"{path}: expected one variable that is a map, found {found}; save the map "
            "alone"
        )
    return next(iter(maps.values()))


def _fingerprint(files: tuple[Path, ...]) -> str:
    """Returns what changes when one of the files does."""
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            status = path.stat()
            line = f"{path.name} {status.st_size} {status.st_mtime_ns}\n"
            digest.update(line.encode())
    return digest.hexdigest()
