"""MIT1003: 1003 images, 15 subjects."""

from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.cleaning import CleaningOptions
from deepgaze_jax.datasets.published import Published
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import ValidationReport

__all__ = ["Builder"]

_ROWS_WITHOUT_FIRST = 104_171


class Builder(tfds_examples.FixationsBuilder):
    """Builds `mit1003` from raw gaze, or from scanpaths as CSV."""

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

    def read(self, source: Path) -> tuple[Recording, ValidationReport]:
        """Returns the recording in a folder, and the report on it."""
        kept = self.builder_config.name == "first_fixation_kept"
        accept = ("first_fixation",) if kept else ()
        first = "keep" if kept else "drop"
        published = Published(
            {"train": 1003},
            longest_side=1024,
            subjects=15,
            rows=None if kept else _ROWS_WITHOUT_FIRST,
        )
        if any(source.glob("scanpath_MIT1003_*.csv")):
            cleaning = CleaningOptions(True, True, first_fixation=first)
            return tfds_examples.read_source(
                "mit1003_csv", source, self.options, cleaning, accept, published
            )
        return tfds_examples.read_source(
            "mit1003",
            source,
            self.options,
            accept=accept,
            published=published,
            first_fixation=first,
        )
