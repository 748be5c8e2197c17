"""From what people name to what is evaluated."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepgaze_jax.center_bias import check_center_bias, resample_log_density
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.evaluation.baselines import (
    BASELINES,
    CenterBiasSource,
    CrossFit,
    GoldStandardSource,
    UniformSource,
)
from deepgaze_jax.evaluation.map_folders import (
    LogDensityFolder,
    SaliencyMapFolder,
    kind_of_folder,
)
from deepgaze_jax.evaluation.model_source import ModelSource, find_cache
from deepgaze_jax.evaluation.predictions import Part, Prediction, Source
from deepgaze_jax.model_files import ALIASES, MODELS
from deepgaze_jax.named_center_bias import center_bias_names, load_center_bias
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.predictor import FoldRule

__all__ = [
    "NamedCenterBias",
    "baseline_of_results",
    "name_in_results",
    "open_baseline",
    "open_sources",
]

_CROSS_FITTED = "center bias of other images of the data set (cross-fitted)"
_NAMED = "center bias "
_OWN_FILES = ("config.json", "model.safetensors")


class NamedCenterBias:
    """A center bias that was chosen by name or file, for all images."""

    is_costly = False

    def __init__(self, name_or_file: str, dataset: FixationDataset) -> None:
        self.name = f"{_NAMED}{name_or_file}"
        self._values = load_center_bias(name_or_file)
        self._named = str(name_or_file) in center_bias_names()
        self._sizes = dataset.image_sizes

    def identity(self) -> dict:
        """Returns what the model is, ready for JSON."""
        digest = hashlib.sha256(np.ascontiguousarray(self._values).tobytes())
        return {"kind": self.name, "sha256": digest.hexdigest()}

    def card(self) -> dict:
        """Returns the identity: nothing is fitted here."""
        return self.identity()

    def predict(self, index: int) -> Prediction:
        """Returns the center bias at the size of an image."""
        size = tuple(map(int, self._sizes[index]))
        values = self._values
        if not self._named:
            values = check_center_bias(values, *size)
        log_density = resample_log_density(values, *size)
        return Prediction((Part(log_density),), of_any_image=True)


def open_sources(
    names: Sequence[str],
    dataset: FixationDataset,
    *,
    cross_fit: CrossFit,
    fold: FoldRule = "auto",
    center_bias: str | None = None,
) -> list[Source]:
    """Returns what is named, each ready to predict the images of a data set.

    Args:
        names: baselines (`BASELINES`); trained models by name, file or run folder;
            folders of `.npy` log densities, or of png, jpg or mat saliency maps. What
            tables call a model may stand in front: `LABEL=FOLDER`.
        dataset: images and fixations.
        cross_fit: of the data set; fitted when it is needed.
        fold: for trained models, see `ModelSource`.
        center_bias: for trained models.

    Raises:
        InputError: a folder without maps.
        ConfigError: no such model, two with one name, or a label for a baseline.
        DataError: a folder has no map for an image.
    """
    sources: list[Source] = []
    for text in names:
        label, name = _label_and_name(text)
        source = _open(name, label, dataset, cross_fit, fold, center_bias)
        if source.name in {other.name for other in sources}:
            raise ConfigError(
                f"two models are called {source.name!r}; name one of them otherwise: "
                f"{source.name}-2={name}"
            )
        sources.append(source)
    return sources


def open_baseline(name: str, dataset: FixationDataset, cross_fit: CrossFit) -> Source:
    """Returns a baseline of the information gain.

    Args:
        name: "center-bias" (cross-fitted on the data set), or "uniform", the name of a
            data set or a `.npy` file.
        dataset: images and fixations.
        cross_fit: of the data set.

    Raises:
        ConfigError: no such baseline.
    """
    if name == "center-bias":
        return CenterBiasSource(cross_fit)
    if name == "uniform":
        return UniformSource(dataset)
    if name in BASELINES:
        raise ConfigError(
            f"{name} is no baseline of an information gain; choose center-bias, "
            "uniform, the name of a data set or a .npy file"
        )
    return NamedCenterBias(name, dataset)


def name_in_results(baseline: Source) -> str:
    """Returns what files of results call a baseline from `open_baseline`."""
    return _CROSS_FITTED if isinstance(baseline, CenterBiasSource) else baseline.name


def baseline_of_results(
    title: str, dataset: FixationDataset, cross_fit: CrossFit
) -> Source:
    """Returns the baseline that files of results call so.

    Args:
        title: from `name_in_results`.
        dataset: images and fixations.
        cross_fit: of the data set.

    Raises:
        ConfigError: no such baseline, as for one that belongs to a model.
    """
    name = "center-bias" if title == _CROSS_FITTED else title.removeprefix(_NAMED)
    return open_baseline(name, dataset, cross_fit)


def _label_and_name(text: str) -> tuple[str | None, str]:
    label, equals, name = text.partition("=")
    if not equals or not label or Path(text).exists():
        return None, text
    return label, name


def _open(
    name: str,
    label: str | None,
    dataset: FixationDataset,
    cross_fit: CrossFit,
    fold: FoldRule,
    center_bias: str | None,
) -> Source:
    if label is not None and {label, name} & set(BASELINES):
        # Figures know references by their names.
        raise ConfigError(
            f"{label}={name}: baselines keep their names ({', '.join(BASELINES)}), "
            "and nothing else has them; leave the label out or choose another"
        )
    if name in BASELINES:
        return {
            "uniform": lambda: UniformSource(dataset),
            "center-bias": lambda: CenterBiasSource(cross_fit),
            "gold-standard": lambda: GoldStandardSource(cross_fit),
            "joint": lambda: GoldStandardSource(cross_fit, joint=True),
        }[name]()
    path = Path(name)
    is_run = any((path / file).exists() for file in _OWN_FILES)
    if path.is_dir() and not is_run and name not in (*MODELS, *ALIASES):
        kind = kind_of_folder(path)
        title = label or path.resolve().name
        if kind == ".npy":
            return LogDensityFolder(path, dataset, title)
        if kind is not None:
            return SaliencyMapFolder(path, cross_fit, title)
        raise InputError(
            f"{path}: is no training run and holds no maps; expected .npy log "
            "densities, or png, jpg or mat saliency maps"
        )
    predictor = load_pretrained(name)
    cache = find_cache(predictor, dataset)
    return ModelSource(
        predictor,
        dataset,
        fold=fold,
        center_bias=center_bias,
        cache=cache,
        name=label,
    )
