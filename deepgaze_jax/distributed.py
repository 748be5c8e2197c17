"""How the processes of a distributed run find one another."""

import jax
from jax.experimental import multihost_utils

from deepgaze_jax.errors import ConfigError

__all__ = ["connect"]

#: A process that has not been heard of for so long has ended.
_HEARTBEAT_S = 60
#: So long the processes wait for one another at the start.
_MEETING_S = 300


def connect(
    coordinator: str | None = None,
    n_processes: int | None = None,
    process: int | None = None,
) -> None:
    """Return nothing; this process is one of several that train together.

    Must come before anything touches a device.

    Args:
        coordinator: host and port where the first process listens.
        n_processes: how many processes there are.
        process: number of this one, from 0. What is left out is taken from Slurm,
            Kubernetes, Open MPI or the machines of a TPU.

    Raises:
        ConfigError: they do not find one another.
    """
    try:
        jax.distributed.initialize(
            coordinator,
            n_processes,
            process,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            initialization_timeout=_MEETING_S,
            shutdown_timeout_seconds=_HEARTBEAT_S,
        )
        multihost_utils.sync_global_devices("all are here")
    except (RuntimeError, ValueError, TypeError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"the processes of a distributed run have not met ({line}); start all of "
            "them, with --coordinator HOST:PORT, --n-processes and --process where "
            "neither Slurm nor Kubernetes says so"
        ) from error
