"""Training checkpoints; the only file that knows Orbax.

Each checkpoint is written beside its place and renamed, so a killed process leaves
either the whole of it or none. Released weights are not Orbax but safetensors files.
"""

import concurrent.futures
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from deepgaze_jax.errors import ConfigError

__all__ = ["Checkpoints"]


class Checkpoints:
    """The checkpoints of one run, newest kept.

    An interrupt (Ctrl-C) waits until a save is whole: inside Orbax it would leave
    threads that wait for a signal that never comes, and the process would not end.

    Args:
        folder: where they lie; made when the first is saved.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int = 2):
        # Orbax tells every step of every save at level INFO and some at WARNING.
        logging.getLogger("absl").setLevel(logging.ERROR)
        # Python interrupts the main thread alone. One worker, so that closing comes
        # after whatever was begun.
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
        self._checkpointer = self._finish(
            ocp.training.Checkpointer,
            Path(folder).resolve(),
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._finish(self._checkpointer.close)
        self._worker.shutdown()

    def _finish(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Return what a call returns; an interrupt is raised when the call is over."""
        future = self._worker.submit(call, *args, **options)
        interrupt = None
        while not future.done():
            try:
                concurrent.futures.wait([future])
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
        return future.result()

    @property
    def latest(self) -> int | None:
        """Number of the newest whole checkpoint, None where there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, state: Any) -> None:
        """Write the state as checkpoint `step` and wait until it is whole."""
        self._finish(self._checkpointer.save, step, state, force=True)
        self._finish(self._checkpointer.wait)

    def load(self, like: Any, step: int | None = None) -> Any:
        """Return a checkpoint's state, placed and typed like `like`.

        Args:
            like: arrays of the wanted shapes, types and shardings.
            step: its number; the newest by default.

        Raises:
            ConfigError: there is none, or its contents have other names or shapes.
        """
        step = self.latest if step is None else step
        if step is None:
            raise ConfigError("there is no checkpoint to go on from; start without it")
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        # Compared before loading: a load that fails half-way leaves warnings behind.
        stored = self._finish(self._checkpointer.metadata, step).metadata
        stored = _layout(stored)
        wanted = _layout(abstract)
        different = [
            f"{name} is {stored.get(name, 'missing')}, expected "
            f"{wanted.get(name, 'nothing of that name')}"
            for name in sorted({*stored, *wanted})
            if stored.get(name) != wanted.get(name)
        ]
        if different:
            raise ConfigError(
                f"checkpoint {step} does not hold the state that this configuration "
                f"needs: {'; '.join(different)}"
            )
        return self._finish(self._checkpointer.load, step, abstract)


def _layout(tree: Any) -> dict[str, str]:
    """Return type and shape of every leaf by its name."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype}{list(leaf.shape)}"
        )
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
