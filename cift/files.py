"""Files: tables of text read with one clear error for all that is wrong, and whole files or none written."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cift.errors import InputError

LISTED = 20  # problems that one message spells out


class Rows(NamedTuple):
    """What could be read of a file, `table`, and what could not, `problems`: (row, in words); with a `remedy`."""

    table: pd.DataFrame
    problems: list[tuple[int, str]] = []
    remedy: str = ""


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, making its folder; an interrupted run leaves the old file or none."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def one_message(source: object, problems: Sequence[str], remedy: str, count: int | None = None) -> InputError:
    """One error for all that is wrong with a file: the first 20 problems, a count of the rest, the remedy.

    `count`: how many problems there are, if `problems` is only some of them.
    """
    rest = (len(problems) if count is None else count) - len(problems[:LISTED])
    more = f"; and {rest} more" if rest else ""
    return InputError(f"{source}: {'; '.join(problems[:LISTED])}{more}. {remedy}")


def read_text(path: Path | zipfile.Path) -> str:
    """A UTF-8 file's text without byte order mark. InputError: no such file, another encoding."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: not UTF-8 text (byte 0x{content[error.start]:02x}, offset {error.start}, line {line}); "
            'save the file as UTF-8 (in a spreadsheet: "CSV UTF-8")'
        ) from error


def delimiter_of(text: str) -> str:
    """What separates the cells of a delimited text: comma, semicolon, tab or bar.

    Each is tried on the first lines; that one is taken which splits all of them alike, and then into the most cells.
    """

    def how_well(delimiter: str) -> tuple[bool, bool, int]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            widths = [len(row) for row in itertools.islice(filter(None, reader), 20)]
        except csv.Error:
            return False, False, 0
        return max(widths, default=0) > 1, len(set(widths)) == 1, max(widths[:1], default=0)

    return max(",;\t|", key=how_well)


def parse_csv(text: str, source: object, delimiter: str = ",") -> pd.DataFrame:
    """Rows of delimited text with a header, all cells text; the index, "row", is the line (1 is the header).

    Cells with delimiters, line ends or quotes are in double quotes, quotes inside are doubled (RFC 4180).
    Empty lines are skipped. InputError: no header, rows of another length, broken quotes.
    """
    return _complete(_split_csv(text, source, delimiter), source)


def read_table(path: str | Path) -> pd.DataFrame:
    """A .csv, .tsv, .jsonl or .parquet file as a table of text: missing cells are "", numbers are spelt out.

    A csv's cells are separated by what `delimiter_of` finds: many spreadsheets write semicolons. The index, "row", is
    the 1-based line of the file (the header of a csv or tsv is line 1), or the number of the record in a parquet
    file. InputError: no such file, an unknown suffix, a file that cannot be read.
    """
    rows = read_rows(path)
    twice = sorted(set(rows.table.columns[rows.table.columns.duplicated()]))
    if twice:
        raise one_message(path, [f"two columns are called {name!r}" for name in twice], "Rename one of them")
    return _complete(rows, path)


def read_rows(path: str | Path) -> Rows:
    """As `read_table`, for a caller with checks of its own: rows that cannot be read are left out, and told.

    Columns of one name are not among the problems. InputError: no such file, an unknown suffix, a file of which
    nothing can be read.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise InputError(f"{path}: not a {', '.join(_READERS)} file; save the table in one of these forms")
    return _READERS[path.suffix.lower()](path)


def as_text(value: Any) -> str:
    """A cell as text: "" if it is missing; lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict | np.ndarray):
        return json.dumps(value, ensure_ascii=False, default=_as_plain)
    return "" if pd.isna(value) else str(value)


def _as_plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _complete(rows: Rows, source: object) -> pd.DataFrame:
    if rows.problems:
        raise one_message(source, [text for _, text in rows.problems], rows.remedy)
    return rows.table


def _split_csv(text: str, source: object, delimiter: str) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    start = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                numbers.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{source}: row {start} cannot be split into cells ({error}); close every quote, double the quotes "
            f"inside a quoted cell, and have no cell of more than {csv.field_size_limit()} characters"
        ) from error
    if not rows:
        raise InputError(f"{source}: the file is empty; it needs a header and at least one row")
    header, width = rows[0], len(rows[0])
    uneven = [(n, f"row {n} has {len(row)} cells") for n, row in zip(numbers, rows, strict=True) if len(row) != width]
    if uneven:
        kept = [k for k, row in enumerate(rows) if len(row) == width]
        rows, numbers = [rows[k] for k in kept], [numbers[k] for k in kept]
    table = pd.DataFrame(rows[1:], columns=header, index=pd.Index(numbers[1:], name="row"), dtype=object)
    return Rows(
        table, uneven, f"Give each row the {width} cells of the header, and quote cells that hold {delimiter!r}"
    )


def _read_csv(path: Path) -> Rows:
    text = read_text(path)
    return _split_csv(text, path, "\t" if path.suffix.lower() == ".tsv" else delimiter_of(text))


def _read_jsonl(path: Path) -> Rows:
    columns: dict[str, list[str]] = {}
    numbers: list[int] = []
    problems = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if "\\u" in line:
                json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            problems.append((number, f"line {number} has half a character, {error.object[error.start]!a}"))
            continue
        except ValueError as error:
            problems.append((number, f"line {number} is not JSON ({error})"))
            continue
        if not isinstance(record, dict):
            problems.append((number, f"line {number} is not a JSON object but {line[:40]!r}"))
            continue
        for name, value in record.items():
            column = columns.setdefault(name, [])
            column += [""] * (len(numbers) - len(column))
            column.append(as_text(value))
        numbers.append(number)
    for column in columns.values():
        column += [""] * (len(numbers) - len(column))
    table = pd.DataFrame(columns, index=pd.Index(numbers, name="row"), dtype=object)
    return Rows(table, problems, "Write one JSON object a line")


def _read_parquet(path: Path) -> Rows:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with ParquetFile(path) as file:  # as objects, lest whole numbers become floats where one is missing
            table = file.read().to_pandas(integer_object_nulls=True)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable parquet file ({error}); write the file again") from error
    table = table.apply(lambda column: column.astype(object).map(as_text))
    return Rows(table.set_index(pd.RangeIndex(1, len(table) + 1, name="row")))


_READERS = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
FORMS = tuple(_READERS)
