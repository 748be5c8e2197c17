"""`deepgaze data cache`: the feature caches, and how to be rid of them."""

import datetime
import json as json_format
import time
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from deepgaze_jax.cli.messages import UsageError, complain
from deepgaze_jax.cli.options import unset
from deepgaze_jax.datasets.cache_folder import (
    StoredCache,
    remove_cache,
    stored_caches,
)
from deepgaze_jax.errors import DataError
from deepgaze_jax.weights import cache_dir

__all__ = ["list_caches", "remove_caches"]

_DAY_S = 86_400


def list_caches(*, check: bool = False, json: bool = False) -> int:
    """List the feature caches; exit code 1 if --check finds damage.

    Shows of each its name, what it takes up on the disk, how much of it is finished,
    the day that it was last used, and data set, network, maps, scale and type of the
    features. Caches of earlier versions do not say what they are before they are used
    again.

    Args:
        check: Compare them with their checksums.
        json: Print a JSON array.
    """
    caches = stored_caches(cache_dir() / "features")
    rows = [_row(cache, check) for cache in caches]
    if json:
        print(json_format.dumps(rows))
    elif not rows:
        print(f"no feature caches in {cache_dir() / 'features'}")
    else:
        for row in rows:
            print(_line(row))
        total = sum(row["disk_bytes"] for row in rows)
        print(f"{_size(total)} in {cache_dir() / 'features'}")
    return 1 if any(row.get("damaged") for row in rows) else 0


def remove_caches(
    names: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="NAME...", help_behavior_hint=""),
    ] = (),
    /,
    *,
    all: bool = False,
    older_than: Annotated[float | None, unset("DAYS")] = None,
    unfinished: bool = False,
) -> int:
    """Delete feature caches, without asking; they can be computed again.

    One that is being written stays, and the exit code is 1. A run that has read a
    cache already is not disturbed.

    Args:
        names: Of caches, or of the data sets whose caches are to go.
        all: All of them.
        older_than: Those that were last used so many days ago.
        unfinished: Those that are not finished.
    """
    chosen_otherwise = older_than is not None or unfinished
    if bool(names) + all + chosen_otherwise != 1:
        raise UsageError(
            "say which caches: by NAME, or --all, or --older-than DAYS and --unfinished"
            " (together: those that are both); deepgaze data cache ls lists them"
        )
    root = cache_dir() / "features"
    caches = stored_caches(root)
    if names:
        caches = _named(caches, names)
    if older_than is not None:
        before = time.time() - older_than * _DAY_S
        caches = [cache for cache in caches if cache.last_used <= before]
    if unfinished:
        caches = [cache for cache in caches if _is_unfinished(cache)]
    freed, code = 0, 0
    for cache in caches:
        try:
            remove_cache(cache)
        except (DataError, OSError) as error:
            complain(error)
            code = 1
        else:
            freed += cache.disk_bytes
            print(f"{cache.name} is deleted, {_size(cache.disk_bytes)}")
    print(f"{_size(freed)} freed in {root}")
    return code


def _named(caches: Sequence[StoredCache], names: Sequence[str]) -> list[StoredCache]:
    """Return those that are called so, or whose data set is."""
    known = {name for cache in caches for name in (cache.name, cache.about.get("data"))}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(
            f"there is no feature cache {unknown[0]!r}, nor one of a data set of this "
            "name; deepgaze data cache ls lists them. Nothing was deleted"
        )
    return [c for c in caches if {c.name, c.about.get("data")} & set(names)]


def _is_unfinished(cache: StoredCache) -> bool:
    # Of caches without a description nobody knows, unless nothing is finished.
    share = cache.finished_share
    return not cache.state if share is None else share < 1


def _row(cache: StoredCache, check: bool) -> dict[str, Any]:
    """Return what is listed of a cache, ready for JSON; None is what is not known."""
    fields = ("data", "network", "maps", "image_scales", "dtype", "code_version")
    used = datetime.datetime.fromtimestamp(cache.last_used).astimezone()
    row = {
        "name": cache.name,
        **{field: cache.about.get(field) for field in fields},
        "images": len(cache.about.get("image_bytes", ())) or None,
        "images_finished": len(cache.state),
        "finished_share": cache.finished_share,
        "disk_bytes": cache.disk_bytes,
        "last_used": used.isoformat(timespec="seconds"),
    }
    if check:
        row["damaged"] = cache.damaged()
    return row


def _line(row: dict[str, Any]) -> str:
    share = row["finished_share"]
    # Never 100 before it is finished.
    done = (
        f"{row['images_finished']} images, of ?"
        if share is None
        else f"{int(100 * share)} % of {row['images']} images"
    )
    parts = [
        row["name"],
        f"{_size(row['disk_bytes']):>9}",
        f"{done:22}",
        row["last_used"].partition("T")[0],
        _what(row),
    ]
    if "damaged" in row:
        parts.append(_condition(row["damaged"]))
    return "  ".join(parts)


def _what(row: dict[str, Any]) -> str:
    if row["data"] is None:
        return "of an earlier version; says what it is after its next use"
    least, most = (f"{scale:.3g}" for scale in row["image_scales"])
    scale = least if least == most else f"{least}..{most}"
    maps = " ".join(row["maps"])
    return f"{row['data']}: {row['network']} {maps}, scale {scale}, {row['dtype']}"


def _condition(damaged: list[int] | None) -> str:
    if damaged is None:
        return "cannot be checked"
    if not damaged:
        return "intact"
    return f"DAMAGED: {len(damaged)} images; the next train computes them anew"


def _size(n_bytes: int) -> str:
    unit, name = (1e9, "GB") if n_bytes >= 1e9 else (1e6, "MB")
    return f"{n_bytes / unit:.{2 if name == 'GB' else 1}f} {name}"
