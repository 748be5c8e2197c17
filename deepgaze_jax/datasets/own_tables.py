"""Tables as people have them: any separator, encoding and decimal sign, or Parquet."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepgaze_jax.datasets.tables import numbers
from deepgaze_jax.errors import DataError

__all__ = ["OwnTable", "load_table"]

_MAX_TEXT_BYTES = 2**30
_MAX_PARQUET_BYTES = 8 * 2**30
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", ".", "-", "#n/a"))
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig", "UTF-8 with a byte-order mark"),
    (b"\xff\xfe", "utf-16", "UTF-16"),
    (b"\xfe\xff", "utf-16", "UTF-16"),
)


@dataclass(frozen=True, eq=False)
class OwnTable:
    """A table, column by column, as texts or (Parquet) as values.

    Attributes:
        path: where it comes from.
        columns: by name as the table writes it.
        lines: the line of each row in the file; rows from 1 for Parquet.
        notes: what was detected, one sentence each.
    """

    path: Path
    columns: Mapping[str, list[str] | np.ndarray]
    lines: list[int]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def texts(self, column: str) -> list[str]:
        """Returns a column as stripped texts; whole numbers without a point."""
        values = self.columns[column]
        if isinstance(values, list):
            return [text.strip() for text in values]
        if values.dtype.kind == "f" and np.all(values == np.floor(values)):
            values = values.astype(np.int64)
        return ["" if value is None else str(value).strip() for value in values]

    def floats(self, column: str) -> tuple[np.ndarray, bool]:
        """Returns a column as float64, and whether it has decimal commas.

        Missing values, in the ways people write them, become NaN.

        Raises:
            DataError: the first text that is not a number.
        """
        values = self.columns[column]
        if not isinstance(values, list):
            if values.dtype.kind in "fiub":
                return values.astype(np.float64), False
            values = self.texts(column)
        texts = [text.strip() for text in values]
        texts = ["nan" if text.lower() in _MISSING else text for text in texts]
        comma = any(_DECIMAL_COMMA.fullmatch(text) for text in texts)
        if comma and not any("." in text for text in texts):
            texts = [text.replace(",", ".") for text in texts]
        return numbers(self.path, column, texts, self.lines), comma


def load_table(path: str | Path) -> OwnTable:
    r"""Returns a table of text or Parquet.

    Args:
        path: its ending tells Parquet; of text, separator and encoding are detected.

    Raises:
        DataError: no such file, too large, empty, or not a table.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.csv")
        ...     _ = path.write_bytes("Bild;x\nä.png;3,5\n".encode("cp1252"))
        ...     table = load_table(path)
        >>> table.texts("Bild"), table.floats("x")
        (['ä.png'], (array([3.5]), True))
        >>> table.notes
        ('columns are separated by semicolons', 'the text is Windows-1252')
    """
    path = Path(path)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {kind}; give the table, a CSV, TSV or Parquet file")
    limit = _MAX_TEXT_BYTES
    parquet = path.suffix.lower() in (".parquet", ".pq")
    if parquet:
        limit = _MAX_PARQUET_BYTES
    if path.stat().st_size > limit:
        raise DataError(
            f"{path}: has {path.stat().st_size:,} bytes; at most {limit:,} are read: "
            "split it"
        )
    return _load_parquet(path) if parquet else _load_text(path)


def _load_text(path: Path) -> OwnTable:
    text, encoding = _decoded(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise DataError(
            f"{path}: is empty; export it again (a header and a row per fixation)"
        )
    separator = max(_SEPARATORS, key=first.count)
    notes = [f"columns are separated by {_SEPARATORS[separator]}"]
    if encoding != "UTF-8":
        notes.append(f"the text is {encoding}")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(
            f"{path} line {reader.line_num}: is not a table ({error}); save it as CSV "
            "again"
        ) from error
    header = [name.strip() for name in rows[0][1]]
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise DataError(f"{path} line 1: column {twice[0]} is there twice; remove one")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise DataError(
                f"{path} line {line}: has {len(row)} values for {len(header)} columns; "
                "correct the row, and write names that hold separators in quotes"
            )
    return OwnTable(
        path,
        {name: [row[i] for _, row in rows[1:]] for i, name in enumerate(header)},
        [line for line, _ in rows[1:]],
        tuple(notes),
    )


def _decoded(path: Path) -> tuple[str, str]:
    """Returns the text of a file, and what its encoding is called."""
    data = path.read_bytes()
    for mark, codec, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                return data.decode(codec), name
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}: is damaged {name} text; save it as UTF-8"
                ) from error
    if b"\0" in data[:4096]:
        raise DataError(f"{path}: is not text; expected a table: save it as CSV")
    try:
        return data.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        # Every byte means something there, so this cannot fail.
        return data.decode("cp1252", errors="replace"), "Windows-1252"


def _load_parquet(path: Path) -> OwnTable:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet needs pyarrow; `pip install pyarrow`, or save it as CSV"
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            size = sum(
                file.metadata.row_group(i).total_byte_size
                for i in range(file.metadata.num_row_groups)
            )
            if size > _MAX_PARQUET_BYTES:
                raise DataError(
                    f"{path}: unpacks to {size:,} bytes, which is too much; split it"
                )
            table = file.read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        line = " ".join(str(error).split())[:120]
        raise DataError(
            f"{path}: is not a readable Parquet file ({line}); export it again"
        ) from error
    columns = {
        name: np.asarray(table.column(name).to_numpy(zero_copy_only=False))
        for name in table.column_names
    }
    return OwnTable(path, columns, list(range(1, len(table) + 1)), ("Parquet",))
