"""FIGRIM: targets and fillers of a memory task."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.cleaning import CleaningOptions

__all__ = ["Builder"]

_PRESENTATIONS = {
    "all_presentations": ("enc", "rec", "rec2"),
    "first_presentation": ("enc",),
}


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `figrim` from its `.mat` files."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(
            name="all_presentations", description="targets were shown up to three times"
        ),
        tfds.core.BuilderConfig(
            name="first_presentation", description="only when an image was new"
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "all_presentations"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "one folder with allImages_release.mat, allImages_fillers.mat or both, and the "
        "pictures Stimuli/<scene>/*.jpg somewhere below it, from figrim.mit.edu"
    )
    options = tfds_examples.BuildOptions()

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds_examples.dataset_info(self)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        recording, report = tfds_examples.read_source(
            "figrim",
            Path(dl_manager.manual_dir),
            self.options,
            CleaningOptions(True, True, first_fixation="drop"),
            presentations=_PRESENTATIONS[self.builder_config.name],
        )
        return tfds_examples.split_recordings(self, recording, report)

    def _generate_examples(self, recording: Any, images: Any) -> Iterator[Any]:
        return tfds_examples.examples(recording, images, self.options.progress)
