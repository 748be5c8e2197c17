"""A run over pictures: what is ready is kept, the rest is predicted and noted."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from deepgaze_jax.files import make_folder
from deepgaze_jax.journal import Journal
from deepgaze_jax.many_images.density_file import DENSITY_FILE, DensityFile
from deepgaze_jax.many_images.found import find_pictures
from deepgaze_jax.many_images.results import JOURNAL_FILE, PictureFiles, Results
from deepgaze_jax.many_images.settings import (
    SETTINGS_FILE,
    Kinds,
    Settings,
    describe,
    may_keep,
    write_settings,
)
from deepgaze_jax.many_images.stream import Outcome
from deepgaze_jax.many_images.targets import Target, plan_targets
from deepgaze_jax.predictor import Predictor

__all__ = ["committed", "open_results", "targets_of", "unfinished"]


def targets_of(arguments: Sequence[Path], output: Path) -> tuple[list[Target], bool]:
    """Return the pictures that arguments mean, and where their results go.

    Args:
        arguments: see `find_pictures`.
        output: folder for the results.

    Returns:
        The targets, and whether pictures were searched for: of these there may be
        many, so what is ready is noted.

    Raises:
        ConfigError: results would lie among the pictures.
    """
    found = find_pictures(arguments, output)
    targets = plan_targets(
        [picture.path for picture in found],
        output,
        [picture.subfolder for picture in found],
        [picture.problem for picture in found],
    )
    return targets, any(picture.searched for picture in found)


def open_results(
    output: Path,
    predictor: Predictor,
    settings: Settings,
    kinds: Kinds,
    *,
    features: Path | None = None,
    resume: bool = False,
    noted: bool = True,
) -> Results:
    """Return where results go; the folder then says what they are made with.

    What is there of the same settings stays, and counts as ready. Of other settings
    nothing does any more: each file is replaced when its picture's turn comes.

    Args:
        output: folder of the results.
        predictor: the model.
        settings: for all pictures.
        kinds: which files are made.
        features: file of feature weights in place of the fetched ones.
        resume: results of an earlier run are to be kept.
        noted: a run that `resume` can go on with. Without, a folder that says nothing
            about what is in it is left like that, unless an HDF5 file is made.

    Raises:
        ConfigError: results are to be kept that were made with other settings.
        InputError: the folder cannot be made, or what it says is damaged.
    """
    make_folder(output)
    wanted = describe(predictor, settings, features)
    keep = may_keep(output, wanted, resume=resume)
    journal, densities = output / JOURNAL_FILE, output / DENSITY_FILE
    if not (noted or resume or kinds.h5 or (output / SETTINGS_FILE).exists()):
        return PictureFiles(kinds, settings, Journal(None))
    if not keep:
        # In this order: settings never stand beside results of others.
        journal.unlink(missing_ok=True)
        densities.unlink(missing_ok=True)
        write_settings(output, wanted)
    if kinds.h5:
        return DensityFile(densities, settings, wanted)
    return PictureFiles(kinds, settings, Journal(journal))


def unfinished(targets: Sequence[Target], results: Results) -> list[Target]:
    """Return the targets that are not ready; what was cut off of them is removed.

    Args:
        targets: of a run.
        results: where results go.
    """
    left = [t for t in targets if t.problem or not results.is_finished(t)]
    files = {file for t in left for file in (t.log_density, t.overlay)}
    for folder in {file.parent for file in files}:
        # Of no other process's pictures, which may be under way.
        for cut_off in folder.glob(".*.tmp.*"):
            if folder / cut_off.name.partition(".tmp.")[2] in files:
                cut_off.unlink(missing_ok=True)
    return left


def committed(outcomes: Iterator[Outcome], results: Results) -> Iterator[Outcome]:
    """Yield outcomes after those that are ready have been noted.

    Args:
        outcomes: from `predict_pictures`.
        results: where they were written.
    """
    waiting: list[Outcome] = []
    for outcome in outcomes:
        waiting.append(outcome)
        if len(waiting) >= results.together:
            yield from _noted(waiting, results)
            waiting = []
    yield from _noted(waiting, results)


def _noted(outcomes: list[Outcome], results: Results) -> list[Outcome]:
    results.commit([(o.target, o.stamp) for o in outcomes if not o.error])
    return outcomes
