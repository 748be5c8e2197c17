"""SALICON in its editions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from deepgaze_jax.datasets import tfds_examples
from deepgaze_jax.errors import DataError

__all__ = ["Builder"]

_CONFIGS = {
    "2015_mouse": "mouse samples of the .mat files of 2015",
    "2015_fixations": "what the authors made of them in 2015",
    "2017_mouse": "mouse samples of the .mat files of 2017, moved into the image",
    "2017_fixations": "what the authors made of them in 2017",
    "2014_mouse": "mouse samples of the JSON of 2014",
}


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `salicon`, each edition and kind of points as its own config."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=name, description=text)
        for name, text in _CONFIGS.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "from salicon.net: of the edition that the config names one folder with "
        "train/*.mat and val/*.mat (2014: annotations/*.json), and the COCO pictures "
        "COCO_train2014_*.jpg and COCO_val2014_*.jpg somewhere below it"
    )
    options = tfds_examples.BuildOptions()

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds_examples.dataset_info(self)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        edition, kind = self.builder_config.name.split("_")
        of_mat_files = {} if edition == "2014" else {"edition": edition, "kind": kind}
        recording, report = tfds_examples.read_source(
            "salicon", Path(dl_manager.manual_dir), self.options, **of_mat_files
        )
        if of_mat_files and recording.meta.edition.startswith("JSON"):
            raise DataError(
                f"{dl_manager.manual_dir}: holds the JSON of 2014, not the .mat files "
                f"of {edition}; give those, or choose the config 2014_mouse"
            )
        return tfds_examples.split_recordings(self, recording, report)

    def _generate_examples(self, recording: Any, images: Any) -> Iterator[Any]:
        return tfds_examples.examples(recording, images, self.options.progress)
