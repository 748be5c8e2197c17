"""Any data folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.cleaning import CleaningOptions
from deepgaze_jax.datasets.opening import accepted_before

__all__ = ["Builder"]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds any folder with `images/` and `fixations.csv`; configs are its names."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "one folder with images/, fixations.csv and perhaps images.csv, as `deepgaze "
        "data import` writes it"
    )
    options = tfds_examples.BuildOptions()

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds_examples.dataset_info(self)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        source = Path(dl_manager.manual_dir)
        recording, report = tfds_examples.read_source(
            "fixations_folder",
            source,
            self.options,
            CleaningOptions(),
            accepted_before(source),
        )
        return tfds_examples.split_recordings(self, recording, report)

    def _generate_examples(self, recording: Any, images: Any) -> Iterator[Any]:
        return tfds_examples.examples(recording, images, self.options.progress)
