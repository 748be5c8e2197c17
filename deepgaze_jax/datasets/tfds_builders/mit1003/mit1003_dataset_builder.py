"""MIT1003: 1003 images, 15 subjects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.cleaning import CleaningOptions

__all__ = ["Builder"]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `mit1003` from raw gaze, or from scanpaths as CSV."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(
            name="first_fixation_dropped",
            description="without the one on the cross, as everybody who compares does",
        ),
        tfds.core.BuilderConfig(
            name="first_fixation_kept", description="for models of whole scanpaths"
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "first_fixation_dropped"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "one folder with ALLSTIMULI.zip and DATA.zip as their authors publish them "
        "(people.csail.mit.edu/tjudd/WherePeopleLook), packed or unpacked "
        "(ALLSTIMULI/*.jpeg, DATA/<subject>/*.mat); or with "
        "scanpath_MIT1003_<image>.csv and the pictures"
    )
    options = tfds_examples.BuildOptions()

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds_examples.dataset_info(self)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        source = Path(dl_manager.manual_dir)
        kept = self.builder_config.name == "first_fixation_kept"
        accept = ("first_fixation",) if kept else ()
        first = "keep" if kept else "drop"
        if any(source.glob("scanpath_MIT1003_*.csv")):
            cleaning = CleaningOptions(True, True, first_fixation=first)
            recording, report = tfds_examples.read_source(
                "mit1003_csv", source, self.options, cleaning, accept
            )
        else:
            recording, report = tfds_examples.read_source(
                "mit1003", source, self.options, accept=accept, first_fixation=first
            )
        return tfds_examples.split_recordings(self, recording, report)

    def _generate_examples(self, recording: Any, images: Any) -> Iterator[Any]:
        return tfds_examples.examples(recording, images, self.options.progress)
