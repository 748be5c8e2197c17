"""FIGRIM: targets and fillers of a memory task."""

from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.cleaning import CleaningOptions
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import ValidationReport

__all__ = ["Builder"]

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
        "one folder with allImages_release.mat, allImages_fillers.mat or both, and the "
        "pictures Stimuli/<scene>/*.jpg somewhere below it, from figrim.mit.edu"
    )

    def read(self, source: Path) -> tuple[Recording, ValidationReport]:
        """Returns the recording in a folder, and the report on it."""
        return tfds_examples.read_source(
            "figrim",
            source,
            self.options,
            CleaningOptions(True, True, first_fixation="drop"),
            presentations=_PRESENTATIONS[self.builder_config.name],
        )
