"""CAT2000: 20 categories of 100 images."""

from pathlib import Path

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.datasets.published import Published
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import ValidationReport

__all__ = ["Builder"]

_PUBLISHED = Published({"train": 2000}, size=(1080, 1920))


class Builder(tfds_examples.FixationsBuilder):
    """Builds `cat2000` from fixation maps."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "of trainSet.zip (saliency.mit.edu), unpacked, the folder trainSet/ with "
        "Stimuli/<category>/NNN.jpg and FIXATIONLOCS/<category>/NNN.mat; its "
        "allFixData.mat is not needed (only MATLAB opens it)"
    )

    def read(self, source: Path) -> tuple[Recording, ValidationReport]:
        """Returns the recording in a folder, and the report on it."""
        return tfds_examples.read_source(
            "cat2000", source, self.options, published=_PUBLISHED
        )
