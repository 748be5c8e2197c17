"""Tables of scores: one row per image and model, as CSV or Parquet."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepgaze_jax.errors import ConfigError, DataError
from deepgaze_jax.files import replacing, write_text

__all__ = ["check_table_name", "companion", "csv_text", "read_table", "write_rows"]

_TEXT = ("image", "model")
_WHOLE = ("n_fixations",)


def check_table_name(path: str | Path) -> None:
    """Returns nothing if a table can have this name, else raises ConfigError."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise ConfigError(
            f"{path}: a table of scores is CSV or Parquet; let the name end in .csv or "
            ".parquet"
        )
    if suffix == ".parquet":
        _pyarrow()


def companion(path: str | Path) -> Path:
    """Returns where the JSON of a table is: `x.json` of `x.csv`.

    That of any other table has the table's whole name in front, so that tables of one
    stem each keep their own.

    Example:
        >>> companion("x.csv").name, companion("x.parquet").name
        ('x.json', 'x.parquet.json')
    """
    path = Path(path)
    if path.suffix == ".csv":
        return path.with_suffix(".json")
    return path.with_name(f"{path.name}.json")


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Returns a table as CSV; None is an empty field, floats have all their digits.

    Example:
        >>> csv_text(["image", "ll"], [["a.jpg", 0.1], ["b.jpg", None]]).split()
        ['image,ll', 'a.jpg,0.1', 'b.jpg,']
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def write_rows(
    path: str | Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Writes a table, whole or not at all; returns nothing.

    Args:
        path: ending in .csv or .parquet; its folder is made if it is missing.
        columns: names.
        rows: values; None where there is none.

    Raises:
        ConfigError: another ending, or Parquet without pyarrow.
    """
    path = Path(path)
    check_table_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".csv":
        write_text(path, csv_text(columns, rows))
        return
    arrow, parquet = _pyarrow()
    types = dict.fromkeys(_TEXT, arrow.string()) | dict.fromkeys(_WHOLE, arrow.int64())
    columns_of = {
        name: arrow.array([row[k] for row in rows], types.get(name, arrow.float64()))
        for k, name in enumerate(columns)
    }
    with replacing(path) as temporary:
        parquet.write_table(arrow.table(columns_of), temporary)


def read_table(path: str | Path) -> list[dict[str, Any]]:
    """Returns the rows of a table of scores; None where a field is empty.

    Args:
        path: CSV or Parquet with the columns image, n_fixations, perhaps model, and
            one per metric.

    Raises:
        ConfigError: another ending, or Parquet without pyarrow.
        DataError: not such a table.
    """
    path = Path(path)
    check_table_name(path)
    if path.suffix.lower() == ".parquet":
        arrow, parquet = _pyarrow()
        try:
            rows = parquet.read_table(path).to_pylist()
        except arrow.ArrowInvalid as error:
            raise DataError(f"{path}: is not a Parquet file ({error})") from error
    else:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [_parsed(row) for row in csv.DictReader(file, strict=True)]
        except (ValueError, TypeError, csv.Error) as error:
            raise DataError(f"{path}: is not a table of scores ({error})") from error
    missing = {"image", "n_fixations"} - set(rows[0] if rows else ())
    if missing:
        raise DataError(
            f"{path}: has no column {sorted(missing)[0]}, or no rows; expected a table "
            "from deepgaze evaluate"
        )
    return rows


def _parsed(row: dict[str, str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for name, text in row.items():
        if name in _TEXT:
            parsed[name] = text
        elif name in _WHOLE:
            parsed[name] = int(text)
        else:
            parsed[name] = float(text) if text else None
    return parsed


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            "Parquet needs pyarrow: pip install 'deepgaze-jax[parquet]', or let the "
            "table's name end in .csv"
        ) from error
    return pyarrow, pyarrow.parquet
