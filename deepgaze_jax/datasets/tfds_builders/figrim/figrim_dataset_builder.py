"""FIGRIM: targets and fillers of a memory task."""

from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.cleaning import CleaningOptions
from deepgaze_jax.datasets.published import Published
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import ValidationReport

__all__ = ["Builder"]

_PUBLISHED = Published(
    {"targets": 630, "fillers": 2157}, size=(1000, 1000), subjects=67
)
_PRESENTATIONS = {
    "all_presentations": ("enc", "rec", "rec2"),
    "first_presentation": ("enc",),
}


class Builder(tfds_examples.FixationsBuilder):
    """Builds `figrim` from its `.mat` files."""

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
        "one folder with allImages_release.mat and allImages_fillers.mat, and the "
        "pictures Stimuli/<scene>/*.jpg somewhere below it, from figrim.mit.edu"
    )

    def read(self, source: Path) -> tuple[Recording, ValidationReport]:
        """Returns the recording in a folder, and the report on it."""
        return tfds_examples.read_source(
            "figrim",
            source,
            self.options,
            CleaningOptions(True, True, first_fixation="drop"),
            published=_PUBLISHED,
            presentations=_PRESENTATIONS[self.builder_config.name],
        )
