"""Numbers in documents against stored results.

A table is compared cell by cell, a sentence group by group: a printed number has to be
the stored one, rounded to the printed digits.
"""

import csv
import json
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
README, EXPERIMENTS = "README.md", "experiments/README.md"
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w.]*\w)")


class Wrong(AssertionError):
    """A printed number is not the stored one."""


@cache
def stored(name):
    """A result file: JSON as it is, CSV as a list of rows."""
    path = RESULTS / name
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def document(name):
    return (ROOT / name).read_text(encoding="utf-8")


def numbers(text):
    """The numbers in a cell; digits within names (`1150.jpg`) are none."""
    return NUMBER.findall(re.sub(r"`[^`]*`", "", text.replace("<br>", " ")))


def compare(where, printed, values):
    """Raises unless the printed numbers are the values, to the printed digits."""
    if len(printed) != len(values):
        raise Wrong(f"{where}: prints {printed}; expected {len(values)} numbers")
    for text, value in zip(printed, values, strict=True):
        plain = text.replace(",", "")
        digits = len(plain.partition(".")[2])
        if f"{abs(float(value)):.{digits}f}" != plain.lstrip("-") or (
            plain.startswith("-") != (value < 0)
        ):
            raise Wrong(f"{where}: prints {text}, the result is {value!r}")


def tables(text):
    """The tables of a document: header -> rows, each a list of cells."""
    found = {}
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if re.fullmatch(r"[|\- ]*\|[|\- ]*---[|\- ]*", line) and k:
            rows = []
            for row in lines[k + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append([cell.strip() for cell in row.strip("|").split("|")])
            header = lines[k - 1]
            # Tables without words in their headers are told apart by their first row.
            header = header if header.strip("| ") else f"| | {rows[0][0]}"
            if header in found:
                raise Wrong(f"two tables have the header {header}")
            found[header] = rows
    return found


def rows_of(name, header):
    """The rows of a table of a document."""
    found = tables(document(name)).get(header)
    if found is None:
        raise Wrong(f"{name}: there is no table {header}")
    return found


def check_rows(rows, expected):
    """Raises unless the rows have these titles, and every cell these numbers."""
    titles = [row[0] for row in rows]
    if titles != list(expected):
        raise Wrong(f"the rows are {titles}; expected {list(expected)}")
    for row, cells in zip(rows, expected.values(), strict=True):
        if len(row) != len(cells) + 1:
            raise Wrong(f"{row[0]}: has {len(row)} cells")
        for k, (cell, values) in enumerate(zip(row[1:], cells, strict=True)):
            compare(f"{row[0]}, column {k + 2}", numbers(cell), values)


def check_sentence(name, text, pattern, values):
    """Raises unless a sentence is there once and has these numbers as its groups."""
    found = list(re.finditer(pattern, " ".join(text.split())))
    if len(found) != 1:
        raise Wrong(f"{name}: {pattern!r} is there {len(found)} times")
    compare(f"{name}: {pattern}", list(found[0].groups()), values)


def spread(one):
    """A stored mean and its interval, as a cell prints them."""
    return [one[key] for key in ("mean", "low", "high")]


def scores(stem):
    return stored(f"osie_{stem}.json")


def evaluated(model):
    return stored("osie_evaluation.json")["models"][model]


def claims():
    return stored("osie_claims.json")
