"""Several processes that train together: how they meet, and how they end."""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator

import jax

from deepgaze_jax.cli.messages import complain
from deepgaze_jax.distributed import connect
from deepgaze_jax.errors import ConfigError, DeepGazeError

__all__ = ["together"]

_LOST = (
    "another process of the run has ended or cannot be reached; see what it said, then "
    "start all of them again with --resume"
)

#: Where the runtime says that another process is gone.
_FATAL = re.compile(rb"Polled an error from coordination|detected fatal errors")
_BROKEN = re.compile("arrier|[Gg]loo|coordination|UNAVAILABLE")


@contextlib.contextmanager
def together(
    coordinator: str | None, n_processes: int | None, process: int | None
) -> Iterator[None]:
    """Return a context in which this process works with others; see `connect`.

    A process that fails ends at once with one line and exit code 1 (2 for wrong usage):
    what is usually done at the end would wait for the others. The others notice within
    a minute and end in the same way.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    _watch_native_messages()
    try:
        with _standard_output_to_errors():
            # The first to talk to the others, of which the runtime tells.
            connect(coordinator, n_processes, process)
        yield
    except KeyboardInterrupt as interrupt:
        complain("; ".join(("interrupted", *map(str, interrupt.args))))
        _end(130)
    except DeepGazeError as error:
        complain(error)
        _end(2 if isinstance(error, ConfigError) else 1)
    except Exception as error:
        # Whatever breaks first when a process goes: a sum over processes, a save.
        broken = isinstance(error, jax.errors.JaxRuntimeError)
        if not (broken or _BROKEN.search(str(error))):
            raise
        complain(_LOST)
        _end(1)


@contextlib.contextmanager
def _standard_output_to_errors() -> Iterator[None]:
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _end(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch_native_messages() -> None:
    """Let Python alone write to standard error; read what the runtime writes there.

    The runtime ends the process, with a trace of itself, when another one is gone. It
    says so first: time enough to say it in a line and to end without the trace. What
    else it writes of its own is about connections, and not shown.
    """
    sys.stderr.flush()
    visible = os.fdopen(os.dup(2), "w", buffering=1, errors="replace")
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = visible

    def watch() -> None:
        with os.fdopen(reading, "rb", buffering=0) as lines:
            rest = b""
            while chunk := lines.read(65536):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    if _FATAL.search(line):
                        complain(_LOST)
                        _end(1)

    threading.Thread(target=watch, name="native messages", daemon=True).start()
