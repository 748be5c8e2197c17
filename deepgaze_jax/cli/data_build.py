"""`deepgaze data build`."""

from pathlib import Path
from typing import Annotated

import tyro

from deepgaze_jax.cli.messages import Bar, say
from deepgaze_jax.cli.options import unset
from deepgaze_jax.datasets.opening import read_meta
from deepgaze_jax.datasets.published import published_line
from deepgaze_jax.datasets.tfds_building import build_dataset
from deepgaze_jax.datasets.tfds_examples import BuildOptions
from deepgaze_jax.datasets.validation_report import check_accepted
from deepgaze_jax.datasets.wording import counted

__all__ = ["build"]


def build(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    /,
    *,
    source: Annotated[
        Path | None, tyro.conf.arg(name="from", metavar="SRC", help_behavior_hint="")
    ] = None,
    config: Annotated[str | None, unset("CONFIG")] = None,
    data_dir: Annotated[Path | None, unset("DIR")] = None,
    images: Annotated[Path | None, unset("DIR")] = None,
    allow_missing_images: bool = False,
    allow_part: bool = False,
    accept: Annotated[tuple[str, ...], unset("CHECK...")] = (),
    replace: bool = False,
) -> int:
    """Build a TFDS data set (array_record) from files of a published data set.

    The new data set is then --data NAME of the other commands, NAME/CONFIG where there
    are several, and NAME:SPLIT for one of its splits. Nothing is downloaded: the
    authors want their licence to be read first. Without the files, an error says which
    are needed.

    Args:
        name: cat2000, figrim, fixations_folder, mit1003, osie or
            salicon; fixations_folder is any folder with images/ and
            fixations.csv.
        source: Folder of the files; by default DIR/downloads/manual/NAME.
        config: Edition, for those that have several; for fixations_folder
            what to call the data set, by default like its folder.
        data_dir: Folder of TFDS data sets; by default where --data finds
            them by name.
        images: Folder of the pictures, where they are elsewhere.
        allow_missing_images: Leave images without a readable picture
            out, with their fixations.
        allow_part: Accept fewer images and subjects than were published.
        accept: Checks whose problems are known and accepted.
        replace: Replace one that is there.
    """
    check_accepted(accept)
    with Bar("image") as bar:

        def progress(stage: str, done: int, total: int) -> None:
            bar(done, total, stage)

        path = build_dataset(
            name,
            source,
            config=config,
            data_dir=data_dir,
            options=BuildOptions(
                images, allow_missing_images, allow_part, accept, progress
            ),
            replace=replace,
        )
    meta = read_meta(path)
    for reason, count in meta["dropped"].items():
        say(f"dropped: {count:,} {reason}")
    if line := published_line(meta):
        say(f"published: {line}")
    print(
        f"{counted(meta['n_pictures'], 'image')}, "
        f"{counted(meta['n_subjects'], 'subject')}, "
        f"{counted(meta['n_rows'], 'row')} ({meta['kind']})"
    )
    print(path)
    return 0
