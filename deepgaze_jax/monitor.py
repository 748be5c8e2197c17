"""What watches a run: alarms for training that has collapsed, and TensorBoard."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.errors import ConfigError

__all__ = ["FLAT", "alarms", "scalars"]

#: A readout whose map varies less than this over a picture (standard deviation, nats)
#: predicts the same whatever the picture shows.
FLAT = 1e-4

#: Epochs after which a gain below zero is an alarm.
_WARM_UP = 3

#: A sigma this close to the end of its range (share of the end) lies at the end.
_AT_END = 1e-3


def alarms(
    record: dict[str, Any],
    names: Sequence[str],
    spread: np.ndarray,
    sigma_range: tuple[float, float],
) -> list[str]:
    """Return one line for everything that has gone wrong in an epoch.

    Args:
        record: the epoch's line of the log.
        names: what each member is called.
        spread: [M], largest standard deviation of a member's readout map over a
            validation picture; nan where there is none.
        sigma_range: smallest and largest sigma that training may reach.

    Example:
        >>> record = {"epoch": 5, "validation_by_fold": [-0.1], "sigma_grid_px": [20.0]}
        >>> for line in alarms(record, ["fold 0"], np.array([0.0]), (0.3, 20.0)):
        ...     print(line)
        epoch 5: fold 0 predicts the same for every picture
        epoch 5: fold 0 is no better than the center bias (-0.100 bit/fixation)
        epoch 5: the blur of fold 0 is at the end of its range (sigma 20 cells)
    """
    found = []
    scores = record["validation_by_fold"] or [None] * len(names)
    low, high = sigma_range
    for name, score, sigma, flat in zip(
        names, scores, record["sigma_grid_px"], spread < FLAT, strict=True
    ):
        if flat:
            found.append(f"{name} predicts the same for every picture")
        if score is not None and score < 0 and record["epoch"] > _WARM_UP:
            found.append(
                f"{name} is no better than the center bias ({score:.3f} bit/fixation)"
            )
        if not low * (1 + _AT_END) < sigma < high * (1 - _AT_END):
            found.append(
                f"the blur of {name} is at the end of its range (sigma {sigma:.3g} "
                "cells)"
            )
    return [f"epoch {record['epoch']}: {line}" for line in found]


@contextlib.contextmanager
def scalars(
    folder: Path | None, names: Sequence[str]
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Return a context that gives a function which shows an epoch in TensorBoard.

    Args:
        folder: of the event files; None for none.
        names: what each member is called.

    Raises:
        ConfigError: tensorboardX is not installed.
    """
    if folder is None:
        yield lambda record: None
        return
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs tensorboardX; pip install 'deepgaze-jax[tensorboard]'"
        ) from error
    with contextlib.closing(SummaryWriter(str(folder))) as writer:

        def show(record: dict[str, Any]) -> None:
            epoch = record["epoch"]
            for key, value in record.items():
                if isinstance(value, bool | int | float) and key != "epoch":
                    writer.add_scalar(key, value, epoch)
            for key in ("validation_by_fold", "sigma_grid_px", "center_bias_weight"):
                for name, value in zip(names, record[key], strict=False):
                    if value is not None:
                        writer.add_scalar(f"{key}/{name}", value, epoch)
            writer.flush()

        yield show
