"""SALICON in its editions."""

from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.published import Published
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import ValidationReport
from deepgaze_jax.errors import DataError

__all__ = ["Builder"]

_PUBLISHED = Published(
    {"train": 10_000, "val": 5000}, size=(480, 640), unseen={"test": 5000}
)
_CONFIGS = {
    "2015_mouse": "mouse samples of the .mat files of 2015",
    "2015_fixations": "what the authors made of them in 2015",
    "2017_mouse": "mouse samples of the .mat files of 2017, moved into the image",
    "2017_fixations": "what the authors made of them in 2017",
    "2014_mouse": "mouse samples of the JSON of 2014",
}


class Builder(tfds_examples.FixationsBuilder):
    """Builds `salicon`, each edition and kind of points as its own config."""

    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=name, description=text)
        for name, text in _CONFIGS.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "from salicon.net: of the edition that the config names one folder with "
        "train/*.mat and val/*.mat (2014: annotations/*.json), and the COCO pictures "
        "COCO_train2014_*.jpg and COCO_val2014_*.jpg somewhere below it"
    )

    def read(self, source: Path) -> tuple[Recording, ValidationReport]:
        """Returns the recording in a folder, and the report on it."""
        edition, kind = self.builder_config.name.split("_")
        of_mat_files = {} if edition == "2014" else {"edition": edition, "kind": kind}
        recording, report = tfds_examples.read_source(
            "salicon", source, self.options, published=_PUBLISHED, **of_mat_files
        )
        if of_mat_files and recording.meta.edition.startswith("JSON"):
            raise DataError(
                f"{source}: holds the JSON of 2014, not the .mat files "
                f"of {edition}; give those, or choose the config 2014_mouse"
            )
        return recording, report
