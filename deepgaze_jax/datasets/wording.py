"""How reports and messages put numbers and lists into words."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["contents", "counted", "part", "some"]

_MAX_SHOWN = 10


def counted(n: int, one: str, many: str = "") -> str:
    """Returns a number with what it counts.

    Args:
        n: the number.
        one: what stands behind 1.
        many: what stands behind all other numbers; the same with an s if left out.

    Example:
        >>> counted(1, "image"), counted(2000, "image"), counted(0, "is", "are")
        ('1 image', '2,000 images', '0 are')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def part(n: int, total: int, noun: str, verbs: str, rest: str) -> str:
    """Returns a sentence about some of many.

    Args:
        n: how many it is true of.
        total: of how many.
        noun: what they are.
        verbs: for one and for several, with a bar between.
        rest: what stands behind.

    Example:
        >>> part(1, 2000, "row", "has|have", "no x"), part(0, 1, "row", "is|are", "odd")
        ('1 of 2,000 rows has no x', '0 of 1 row is odd')
    """
    one, several = verbs.split("|")
    verb = one if 1 in (n, total) else several
    return f"{n:,} of {counted(total, noun)} {verb} {rest}"


def some(names: Sequence[str]) -> str:
    """Returns the first few names.

    Example:
        >>> some(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def contents(folder: Path) -> str:
    """Returns what lies in a folder, for the message that something does not.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     contents(Path(folder))
        'nothing'
    """
    names = sorted(entry.name for entry in folder.iterdir())
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more or "nothing"
