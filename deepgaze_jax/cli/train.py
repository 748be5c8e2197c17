"""`deepgaze train` and `deepgaze export`."""

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from deepgaze_jax import exported, training
from deepgaze_jax.cli.compilation import keep_compiled_programs
from deepgaze_jax.cli.messages import Bar, UsageError, say
from deepgaze_jax.cli.options import output as output_option
from deepgaze_jax.cli.options import unset
from deepgaze_jax.cli.processes import together
from deepgaze_jax.datasets.opening import read_dataset
from deepgaze_jax.errors import InputError
from deepgaze_jax.model_files import read_card
from deepgaze_jax.prediction import load_pretrained

__all__ = ["ProgressBars", "export", "train"]


def train(
    *,
    data: Annotated[str, tyro.conf.arg(metavar="DATA")],
    output: Annotated[Path, output_option("RUN")],
    config: Annotated[training.TrainConfig, tyro.conf.arg(name="")],
    start_from: Annotated[
        str | None, tyro.conf.arg(name="from", metavar="MODEL", help_behavior_hint="")
    ] = None,
    stop_on: Annotated[str | None, unset("DATA")] = None,
    resume: bool = False,
    max_cache_gb: Annotated[float | None, unset("GB")] = None,
    tensorboard: bool = False,
    distributed: bool = False,
    coordinator: Annotated[str | None, unset("HOST:PORT")] = None,
    n_processes: Annotated[int | None, unset("INT")] = None,
    process: Annotated[int | None, unset("INT")] = None,
) -> int:
    """Train the readouts of all folds on the fixations of a data set.

    Args:
        data: Name (NAME:SPLIT of built ones), or folder with images/
            and fixations.csv.
        output: Folder of the run: checkpoints, log, and at the end
            the model.
        config: How to train.
        start_from: Go on from this model (name, .safetensors file or run
            folder) instead of from random values: few epochs, the
            finalizer and the layers behind the first, unless options say
            otherwise. Says how good the folds are on their test parts
            before and after.
        stop_on: With --folds all, data that say when to stop.
        resume: Go on where the run was interrupted.
        max_cache_gb: Largest feature cache allowed, in 10^9 bytes; by
            default what leaves a tenth of the disk's free space.
        tensorboard: Write event files into RUN/tensorboard as well.
        distributed: Train with all processes that run this command, on one
            machine or many; each computes the features of its share of the
            images. The first one writes RUN.
        coordinator: Where the first process listens; found out under Slurm,
            Kubernetes and Open MPI, as are the next two.
        n_processes: How many processes there are.
        process: Number of this one, from 0.
    """
    others = (coordinator, n_processes, process)
    if others != (None, None, None) and not distributed:
        raise UsageError(
            "--coordinator, --n-processes and --process are of --distributed; add it, "
            "or leave them out"
        )
    keep_compiled_programs()
    bound = None if max_cache_gb is None else int(max_cache_gb * 1e9)
    stop = None if stop_on is None else read_dataset(stop_on)
    try:
        with (
            together(*others) if distributed else contextlib.nullcontext(),
            ProgressBars() as bars,
        ):
            path = training.train(
                read_dataset(data),
                config,
                output,
                start_from=start_from,
                stop_on=stop,
                resume=resume,
                max_cache_bytes=bound,
                tensorboard=tensorboard,
                progress=bars,
            )
    except KeyboardInterrupt:
        hint = "go on with the same command and --resume"
        raise KeyboardInterrupt(hint) from None
    if jax.process_index() == 0:
        print(output)
        _print_scores(read_card(path))
    return 0


def _print_scores(card: dict[str, Any]) -> None:
    """Say how good the folds of a run are on their validation parts, if they have any.

    Args:
        card: of its model.
    """
    known = [
        (score, epoch, fold["fold"])
        for score, epoch, fold in zip(
            card["scores"]["validation_information_gain"],
            card["best_epoch"],
            card["folds"],
            strict=True,
        )
        if score is not None
    ]
    if not known:
        return
    scores, epochs, folds = zip(*known, strict=True)
    mean = sum(scores) / len(scores)
    of = f"mean of {len(scores)} folds" if len(scores) > 1 else "1 fold"
    print(
        f"validation IG {mean:.3f} bit/fixation over the center bias ({of}); best "
        f"epochs {min(epochs)} to {max(epochs)}"
    )
    before, after = (
        [
            value
            for value in card["scores"].get(f"test_information_gain_{when}", [])
            if value is not None
        ]
        for when in ("before", "after")
    )
    if before and after:
        print(
            f"test IG {sum(before) / len(before):.3f} bit/fixation before, "
            f"{sum(after) / len(after):.3f} after"
        )
    poor = [str(fold) for score, fold in zip(scores, folds, strict=True) if score <= 0]
    if poor:
        say(
            f"warning: fold {', '.join(poor)}: validation IG is not above 0: nothing "
            "was learned beyond the center bias; look at log.csv, and check that the "
            "fixations belong to these pictures"
        )


def export(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    output: Annotated[Path, output_option("MODEL")],
    evaluation: Annotated[Path | None, unset("TABLE.json")] = None,
) -> int:
    """Write the model of a training run to one file, with its card.

    Args:
        run: Folder of the run; for a .jaxexport file any model.
        output: A .safetensors file, or a .jaxexport file: the model and
            its feature network as one program that needs nothing but JAX.
        evaluation: Summary from `deepgaze evaluate`, for the card of a
            .safetensors file.
    """
    if output.suffix == exported.SUFFIX:
        if evaluation is not None:
            raise UsageError(
                "--evaluation is of .safetensors files; export one, and a "
                f"{exported.SUFFIX} file from it"
            )
        exported.export_program(load_pretrained(str(run)), output)
        print(output)
        return 0
    summary = None
    if evaluation is not None:
        try:
            summary = json.loads(evaluation.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(
                f"{evaluation}: is not the JSON of an evaluation ({error}); give the "
                "file that `deepgaze evaluate` writes beside its table"
            ) from error
    training.export_run(run, output, evaluation=summary)
    print(output)
    return 0


class ProgressBars:
    """Shows a training run: one bar for the features, one for each epoch."""

    def __init__(self) -> None:
        self._bar = Bar("image")

    def __call__(self, progress: training.Progress) -> None:
        """Show a `training.Progress`."""
        if progress.message:
            say(progress.message)
        if progress.stage == "features":
            title = "features"
        else:
            title = f"epoch {progress.epoch}/{progress.n_epochs}"
        self._bar(progress.done, progress.total, title)
        if progress.information_gain is not None:
            part = "validation" if progress.done == progress.total else "training"
            gain = f"{progress.information_gain:.3f} bit/fixation"
            self._bar.note(f"{part} IG {gain} over the center bias")

    def __enter__(self) -> "ProgressBars":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
