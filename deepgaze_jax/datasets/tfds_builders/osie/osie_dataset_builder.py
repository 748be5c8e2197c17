"""OSIE: 700 photographs, 15 subjects."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.readers.osie import PIXELS_PER_DVA, SIZE

__all__ = ["Builder"]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `osie` from the files that its authors give away."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "one folder with fixations.mat (from eye/) and the 700 pictures 1001.jpg to "
        "1700.jpg, loose or in a subfolder such as stimuli/, as its authors publish "
        "them; or a data folder of OSIE: fixations.csv and images/"
    )
    options = tfds_examples.BuildOptions()

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds_examples.dataset_info(self)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        source = Path(dl_manager.manual_dir)
        is_table = (source / "fixations.csv").is_file()
        recording, report = tfds_examples.read_source(
            "fixations_folder" if is_table else "osie",
            source,
            self.options,
            # Known to count from 0, though the table itself does not say so.
            accept=("origin",),
        )
        n = len(recording.image_names)
        if recording.pixels_per_dva is None and (recording.image_sizes == SIZE).all():
            scale = np.full(n, PIXELS_PER_DVA)
            recording = replace(recording, pixels_per_dva=scale)
        return tfds_examples.split_recordings(self, recording, report)

    def _generate_examples(self, recording: Any, images: Any) -> Iterator[Any]:
        return tfds_examples.examples(recording, images, self.options.progress)
