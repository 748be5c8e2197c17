"""`deepgaze data export`."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from deepgaze_jax.cli.messages import Bar
from deepgaze_jax.cli.options import output as output_option
from deepgaze_jax.datasets.opening import read_dataset
from deepgaze_jax.datasets.pysaliency_files import write_pysaliency
from deepgaze_jax.datasets.wording import counted

__all__ = ["export_dataset"]


def export_dataset(
    format: Annotated[
        Literal["pysaliency"], tyro.conf.Positional, tyro.conf.arg(metavar="FORMAT")
    ],
    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")],
    /,
    *,
    output: Annotated[Path, output_option("DIR")],
) -> int:
    """Write a data set in the files of other software.

    Args:
        format: pysaliency: stimuli.hdf5 and fixations.hdf5, for versions
            0.2 and 0.3, with the pictures beside them.
        data: Name (NAME:SPLIT of built ones), or folder with images/
            and fixations.csv.
        output: New folder.
    """
    dataset = read_dataset(data)
    with Bar("image") as bar:
        path = write_pysaliency(
            dataset, output, lambda done, total: bar(done, total, "writing")
        )
    print(
        f"{counted(len(dataset), 'image')}, "
        f"{counted(len(dataset.subject_names), 'subject')}, "
        f"{counted(len(dataset.fixations), 'fixation')} ({format})"
    )
    print(path)
    return 0
