"""Building TFDS data sets: whole or not at all, and without a word."""

import contextlib
import importlib
import io
import logging
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import tqdm_utils

from deepgaze_jax.datasets.home import GENERIC, check_dataset_name, tfds_home
from deepgaze_jax.datasets.tfds_builders import BUILDERS
from deepgaze_jax.datasets.tfds_examples import BuildOptions
from deepgaze_jax.errors import ConfigError, DataError
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.files import make_folder

__all__ = ["build_dataset"]


def build_dataset(
    name: str,
    source: str | Path | None = None,
    *,
    config: str | None = None,
    data_dir: str | Path | None = None,
    options: BuildOptions | None = None,
    replace: bool = False,
) -> Path:
    """Returns the folder of a TFDS data set, built from files in `source`.

    It appears when it is complete; what a killed process left is removed by the next.

    Args:
        name: one of `BUILDERS`.
        source: folder of the files; where TFDS would look for them if left out.
        config: of the builder. That of `fixations_folder` is what to call the data
            set, by default like its folder.
        data_dir: folder of TFDS data sets; `tfds_home()` if left out.
        options: of the user.
        replace: whether one that is there may be replaced.

    Raises:
        ConfigError: no such builder or config, or a config must be stated.
        DataError: files are missing, or have problems, or the data set exists.

    Example:
        >>> build_dataset("imagenet")
        Traceback (most recent call last):
        deepgaze_jax.errors.ConfigError: there is no builder 'imagenet'; there are: \
cat2000, figrim, fixations_folder, mit1003, osie, salicon
    """
    if name not in BUILDERS:
        raise ConfigError(
            f"there is no builder {name!r}; there are: {', '.join(BUILDERS)}"
        )
    module = f"{__package__}.tfds_builders.{name}.{name}_dataset_builder"
    kind = importlib.import_module(module).Builder
    home = Path(data_dir) if data_dir else tfds_home()
    folder = _source(kind, name, source, home)
    chosen = _config(kind, name, config, folder)
    make_folder(home)
    with file_lock(home / f".{name}.lock"):
        work = home / f".{name}.partial"
        shutil.rmtree(work, ignore_errors=True)
        try:
            with _quiet():
                builder = kind(data_dir=work, config=chosen, file_format="array_record")
            built = Path(builder.data_dir)
            target = home / built.relative_to(work)
            old = target.with_name(f".{target.name}.old")
            if old.exists() and not target.exists():
                old.rename(target)  # A process was killed between the two steps below.
            shutil.rmtree(old, ignore_errors=True)
            if target.exists() and not replace:
                raise DataError(f"{target}: exists; replace it: --replace")
            builder.options = options or BuildOptions()
            with _quiet():
                builder.download_and_prepare(
                    download_dir=work / "downloads",
                    download_config=tfds.download.DownloadConfig(manual_dir=folder),
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(old)
            built.rename(target)
            # What TFDS notes beside the versions: which config is the usual one.
            for note in (work / name).glob(".config/*"):
                (home / name / ".config").mkdir(exist_ok=True)
                note.replace(home / name / ".config" / note.name)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def _source(kind: Any, name: str, source: str | Path | None, home: Path) -> Path:
    """Returns the folder of the files."""
    usual = home / "downloads" / "manual" / name
    folder = Path(source) if source else usual
    if not folder.is_dir():
        raise DataError(
            f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}; "
            f"{name} is made of files that nobody may fetch for you: "
            f"{kind.MANUAL_DOWNLOAD_INSTRUCTIONS}; say where they are: --from, or put "
            f"them into {usual}"
        )
    return folder.absolute()


def _config(kind: Any, name: str, config: str | None, folder: Path) -> Any:
    """Returns what the builder takes as its config."""
    if name == GENERIC:
        chosen = re.sub(r"[^A-Za-z0-9._-]", "_", folder.resolve().name)
        return tfds.core.BuilderConfig(name=check_dataset_name(config or chosen))
    configs = {known.name: known.description for known in kind.BUILDER_CONFIGS}
    if config is None and (not configs or kind.DEFAULT_BUILDER_CONFIG_NAME):
        return None
    if config not in configs:
        found = f"has no config {config!r}" if config else "exists in several editions"
        known = "; ".join(f"{key} ({text})" for key, text in configs.items())
        raise ConfigError(f"{name} {found}; choose one: {known or 'it has none'}")
    return config


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep TFDS from printing, drawing bars and logging what is no error."""
    logger, bars = logging.getLogger("absl"), tqdm_utils._active
    level = logger.level
    logger.setLevel(logging.ERROR)
    tqdm_utils.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            # TFDS asks newer protobuf in a deprecated way.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
        if bars:
            tqdm_utils.enable_progress_bar()
