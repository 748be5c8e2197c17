"""OSIE: 700 photographs, 15 subjects."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.published import Published
from deepgaze_jax.datasets.readers.osie import PIXELS_PER_DVA, SIZE
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import ValidationReport

__all__ = ["Builder"]

_PUBLISHED = Published({"train": 700}, size=SIZE, subjects=15, rows=98_321)


class Builder(tfds_examples.FixationsBuilder):
    """Builds `osie` from the files that its authors give away."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "one folder with fixations.mat (from eye/) and the 700 pictures 1001.jpg to "
        "1700.jpg, loose or in a subfolder such as stimuli/, as its authors publish "
        "them; or a data folder of OSIE: fixations.csv and images/"
    )

    def read(self, source: Path) -> tuple[Recording, ValidationReport]:
        """Returns the recording in a folder, and the report on it."""
        is_table = (source / "fixations.csv").is_file()
        recording, report = tfds_examples.read_source(
            "fixations_folder" if is_table else "osie",
            source,
            self.options,
            # Known to count from 0, though the table itself does not say so.
            accept=("origin",),
            published=_PUBLISHED,
        )
        n = len(recording.image_names)
        if recording.pixels_per_dva is None:
            scale = np.full(n, PIXELS_PER_DVA)
            recording = replace(recording, pixels_per_dva=scale)
        return recording, report
