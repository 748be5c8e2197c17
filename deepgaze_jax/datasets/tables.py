"""Strict reading of CSV tables, with errors that name file, line and remedy."""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from deepgaze_jax.errors import DataError

__all__ = ["numbers", "read_table", "refuse_first"]

_MAX_TABLE_BYTES = 4 * 2**30
# Bounds what is held as Python strings while a table is read.
_ROWS_AT_ONCE = 65536


def read_table(
    path: Path, required: tuple[str, ...]
) -> Iterator[tuple[list[int], dict[str, list[str]]]]:
    """Yields line numbers and stripped texts by column, a bounded number of rows each.

    Blank lines are skipped. Columns that are not required are read as well.

    Args:
        path: a CSV file.
        required: columns that must be there.

    Raises:
        DataError: anything that is not a UTF-8 table of commas with these columns.
    """
    size = path.stat().st_size
    if size > _MAX_TABLE_BYTES:
        raise DataError(
            f"{path}: has {size / 2**30:.1f} GiB; at most "
            f"{_MAX_TABLE_BYTES / 2**30:.0f} are read: split the data set"
        )
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{path}: is UTF-16 text; save it as UTF-8")
    # utf-8-sig also drops the byte-order mark that spreadsheets write.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, required)
            while rows := list(islice(_numbered(reader), _ROWS_AT_ONCE)):
                lines = [line for line, _ in rows]
                for line, row in rows:
                    if len(row) != len(header):
                        raise _ragged(f"{path} line {line}", row, header)
                texts = zip(*(row for _, row in rows), strict=True)
                yield (
                    lines,
                    {
                        name: [text.strip() for text in column]
                        for name, column in zip(header, texts, strict=True)
                    },
                )
        except csv.Error as error:
            raise DataError(
                f"{path} line {reader.line_num}: is not a table of commas ({error}); "
                "save it as CSV again"
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} line {_line_not_utf8(path)}: is not UTF-8 text (byte "
                f"0x{error.object[error.start]:02x}); save it as UTF-8"
            ) from error


def _line_not_utf8(path: Path) -> int:
    """Returns the first line that cannot be decoded; text is decoded ahead of lines."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _numbered(reader) -> Iterator[tuple[int, list[str]]]:
    for row in reader:
        if row:
            yield reader.line_num, row


def _check_header(path: Path, header: list[str], required: tuple[str, ...]) -> None:
    if not any(header):
        raise DataError(f"{path}: is empty; expected the columns {', '.join(required)}")
    missing = [name for name in required if name not in header]
    if missing:
        for separator, kind in ((";", "semicolons"), ("\t", "tabs")):
            if any(separator in name for name in header):
                raise DataError(
                    f"{path} line 1: columns are separated by {kind}; separate them by "
                    "commas (and write numbers with decimal points)"
                )
        raise DataError(
            f"{path} line 1: lacks the columns {', '.join(missing)}; found "
            f"{', '.join(header)}; rename or add them"
        )
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if twice:
        raise DataError(f"{path} line 1: column {twice[0]} is there twice; remove one")


def _ragged(where: str, row: list[str], header: list[str]) -> DataError:
    advice = "correct the row"
    if len(row) > len(header):
        advice = "write decimals with a point, and names that hold commas in quotes"
    return DataError(
        f"{where}: has {len(row)} values for {len(header)} columns; {advice}"
    )


def numbers(path: Path, column: str, texts: list[str], lines: list[int]) -> np.ndarray:
    """Returns a column as float64; "nan" is a number here.

    Args:
        path: the table, for messages.
        column: its name, for messages.
        texts: the column as text.
        lines: the line of each text, for messages.

    Raises:
        DataError: the first text that is not a number.
    """
    try:
        values = np.array([float(text) for text in texts])
    except ValueError:
        values = None
    # float() reads 1_000 as a thousand.
    if values is None or any("_" in text for text in texts):
        readable = np.array([_is_number(text) for text in texts])
        refuse_first(path, column, texts, lines, readable, "number")
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def refuse_first(
    path: Path,
    column: str,
    texts: list[str],
    lines: list[int],
    good: np.ndarray,
    expected: str,
) -> None:
    """Returns nothing if all values are good, else raises for the first that is not.

    Args:
        path: the table.
        column: its name.
        texts: the column as text.
        lines: the line of each text.
        good: bool, one per text.
        expected: what a good value is, after "expected a".

    Raises:
        DataError: with file, line, value and what to do.
    """
    if good.all():
        return
    row = int(np.argmin(good))
    text = texts[row]
    advice = "correct or remove the row"
    if text == "":
        advice = "fill it in or remove the row"
    elif re.fullmatch(r"[+-]?\d*,\d+", text):
        advice = "that is a decimal comma: write decimals with a point"
    raise DataError(
        f"{path} line {lines[row]}: {column} is {text!r}, expected a {expected}; "
        f"{advice}"
    )
