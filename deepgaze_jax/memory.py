"""How much memory there is, so that what cannot fit is refused in words.

Where memory runs out, the operating system ends the process without any.
"""

import contextlib
import ctypes
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deepgaze_jax.errors import ConfigError, TooLargeError

__all__ = [
    "aligned_memory",
    "available_memory",
    "bytes_of",
    "give_back_memory",
    "require_memory",
    "resident_memory",
]


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}


def bytes_of(text: str) -> int:
    """Return the number of bytes that a text like 2GB, 800MB or 1.5GiB means.

    Args:
        text: a number and a unit; without one, bytes.

    Raises:
        ConfigError: something else, or nothing above 0.

    Example:
        >>> bytes_of("2GB"), bytes_of("1.5 GiB"), bytes_of("3e9")
        (2000000000, 1610612736, 3000000000)
    """
    found = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([kmgt]i?)?b?", text.strip().lower())
    try:
        n_bytes = float(found[1]) * _UNITS[found[2] or ""] if found else 0
    except ValueError:
        n_bytes = 0
    if not 1 <= n_bytes < float("inf"):
        raise ConfigError(
            f"{text!r} is no amount of memory; write it as 2GB, 800MB or 1.5GiB"
        )
    return int(n_bytes)


def require_memory(
    n_bytes: float, what: str, remedy: str, allowed: float | None = None
) -> None:
    """Return nothing if there seems to be enough memory, or if that is unknown.

    Args:
        n_bytes: how much will be taken.
        what: takes it.
        remedy: what to do.
        allowed: bytes that the whole process may take, in place of what there is.

    Raises:
        TooLargeError: less is available.

    Example:
        >>> require_memory(1e18, "this picture", "shrink it")
        Traceback (most recent call last):
        deepgaze_jax.errors.TooLargeError: this picture needs about 1000000000.0 GB of \
memory, ... GB are available; shrink it
    """
    if allowed is None:
        available, are = available_memory(), "are available"
    else:
        available, are = (
            allowed - (resident_memory() or 0),
            "are allowed beside the rest",
        )
    if available is not None and n_bytes > available:
        raise TooLargeError(
            f"{what} needs about {n_bytes / 1e9:.1f} GB of memory, "
            f"{available / 1e9:.1f} GB {are}; {remedy}"
        )


def available_memory(root: Path = Path("/")) -> int | None:
    """Return how many bytes this process can still take, None where that is unknown.

    The least of what the machine has left and of what the limits on the process's
    control groups (containers, jobs of a cluster) leave.

    Args:
        root: where `proc` and `sys` lie.

    Example:
        >>> available_memory() is None or available_memory() > 0
        True
    """
    return min((*_machine(root), *_control_groups(root)), default=None)


def aligned_memory(shape: Sequence[int]) -> np.ndarray:
    """Return uninitialised float32 memory that JAX takes as it is, without a copy.

    It starts at a multiple of 64 bytes.
    """
    n_bytes = 4 * math.prod(shape)
    raw = np.empty(n_bytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + n_bytes].view(np.float32).reshape(shape)


def give_back_memory() -> None:
    """Return nothing; let the system have the memory that has been freed.

    The C library keeps it otherwise, scattered between what is in use. Elsewhere than
    with glibc, nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_memory(root: Path = Path("/")) -> int | None:
    """Return how many bytes this process has now, None where that is unknown.

    Args:
        root: where `proc` lies.

    Example:
        >>> resident_memory() is None or resident_memory() > 1e6
        True
    """
    try:
        for line in (root / "proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _machine(root: Path) -> Iterator[int]:
    """Yield what the machine has left; off Linux all that it has."""
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024
    except OSError:
        try:
            yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return


def _control_groups(root: Path) -> Iterator[int]:
    """Yield what the limit of each control group leaves, of versions 2 and 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers == "":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = mount / own.lstrip("/")
        # A limit holds for all groups below it. In a container, the mount itself may
        # be the process's group.
        for folder in (group, *group.parents):
            if folder.is_relative_to(mount):
                yield from _left(folder, *names)


def _left(group: Path, limit: str, used: str) -> Iterator[int]:
    try:
        room = int((group / limit).read_text()) - int((group / used).read_text())
        statistics = dict(
            line.split() for line in (group / "memory.stat").read_text().splitlines()
        )
    except (OSError, ValueError):  # No such group, or its limit is "max".
        return
    # The cache of files is given up when memory is needed.
    yield room + int(statistics.get("inactive_file", 0))
