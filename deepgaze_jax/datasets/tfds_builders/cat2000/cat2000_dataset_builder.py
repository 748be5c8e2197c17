"""CAT2000: 20 categories of 100 images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples

__all__ = ["Builder"]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `cat2000` from fixation maps."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "of trainSet.zip (saliency.mit.edu), unpacked, the folder trainSet/ with "
        "Stimuli/<category>/NNN.jpg and FIXATIONLOCS/<category>/NNN.mat; its "
        "allFixData.mat is not needed (only MATLAB opens it)"
    )
    options = tfds_examples.BuildOptions()

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds_examples.dataset_info(self)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        recording, report = tfds_examples.read_source(
            "cat2000", Path(dl_manager.manual_dir), self.options
        )
        return tfds_examples.split_recordings(self, recording, report)

    def _generate_examples(self, recording: Any, images: Any) -> Iterator[Any]:
        return tfds_examples.examples(recording, images, self.options.progress)
