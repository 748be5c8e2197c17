"""Any data folder."""

from pathlib import Path

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.cleaning import CleaningOptions
from deepgaze_jax.datasets.opening import accepted_before
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import ValidationReport

__all__ = ["Builder"]


class Builder(tfds_examples.FixationsBuilder):
    """Builds any folder with `images/` and `fixations.csv`; configs are its names."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "one folder with images/, fixations.csv and perhaps images.csv, as `deepgaze "
        "data import` writes it"
    )

    def read(self, source: Path) -> tuple[Recording, ValidationReport]:
        """Returns the recording in a folder, and the report on it."""
        return tfds_examples.read_source(
            "fixations_folder",
            source,
            self.options,
            CleaningOptions(),
            accepted_before(source),
        )
