"""Files that hold whole models: which release a file is, and how it is read."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from deepgaze_jax.conversion import deepgaze1_pth, tf1_release

__all__ = ["RELEASES", "Release", "release_of"]

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Release:
    """A published model.

    Attributes:
        name: of the model.
        title: whose, for people.
        readouts: how many, for people.
        data: what it was trained on.
        features_of: the arrays of the feature network, of all arrays.
        model_tensors: all arrays -> readouts and finalizers under our names, folds
            first; features too where they need no more than names.
        notes: what is assumed.
    """

    name: str
    title: str
    readouts: str
    data: str
    features_of: Callable[[Arrays], dict[str, np.ndarray]]
    model_tensors: Callable[[Arrays], dict[str, np.ndarray]]
    notes: str = ""


def _tf1(name: str) -> Release:
    return Release(
        name=name,
        title="the authors' TF-1 release",
        readouts="ten readouts",
        data="MIT1003 (pre-trained on SALICON), ten folds; which image is in which "
        "fold is not part of the release",
        features_of=tf1_release.features_of,
        model_tensors=functools.partial(tf1_release.model_tensors, release=name),
    )


#: By name.
RELEASES: Mapping[str, Release] = {
    "deepgaze2": _tf1("deepgaze2"),
    "icf": _tf1("icf"),
    "deepgaze1": Release(
        name="deepgaze1",
        title="the authors' PyTorch re-issue",
        readouts="one readout",
        data="MIT1003, the images of 1024x768; which of them is not part of the file",
        features_of=deepgaze1_pth.features_of,
        model_tensors=deepgaze1_pth.model_tensors,
        notes="pixels_per_dva is assumed: 35 is the resolution of MIT1003, the file "
        "does not state it. The model of 2015 had Caffe's AlexNet and several layers; "
        "the re-issue is not that model, as its authors say",
    ),
}


def release_of(names: Mapping[str, object]) -> Release | None:
    """Return the release that names of arrays belong to, or None.

    Example:
        >>> release_of({"saliency_map_0/alpha": 0, "readout_network_0/conv1_part0": 0})
        ... # doctest: +ELLIPSIS
        Release(name='icf', ...
    """
    if deepgaze1_pth.is_release(names):
        return RELEASES["deepgaze1"]
    return RELEASES.get(tf1_release.release_of(names))
