"""A table of text with named columns, from a file of CSV, JSON Lines or Parquet.

CSV is read as programs of many countries write it: with commas, semicolons or tabs, quoted or not, with or without a
byte order mark. It has to be UTF-8.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from training.sources.labels import BadLabels

DELIMITERS = ("\t", ";", ",")  # of two that are equally frequent in the first line, the first one
MAX_SHARED = 24  # characters of a value that is probably repeated, as a class's name is, and kept once
SPREADSHEETS = {".xls", ".xlsx", ".ods", ".numbers"}
TABLE_KINDS = "CSV, JSON Lines (.jsonl) or Parquet (.parquet)"


@dataclass(frozen=True, slots=True)
class Table:
    """Attributes:
    name: the name of its file, for sentences.
    values: of each column, in the order of `names`, the texts of all rows; "" where there is none.
    is_csv: its first row may be no header.
    """

    name: str
    names: tuple[str, ...]
    values: list[list[str]]
    is_csv: bool = False

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.values[0]) if self.values else 0

    def column(self, name: str) -> list[str]:
        return self.values[self.names.index(name)]

    def without_header(self) -> "Table":
        """With the first line as a row, and columns called by their positions from 1."""
        numbers = tuple(str(i + 1) for i in range(len(self.names)))
        rows = [[name, *values] for name, values in zip(self.names, self.values, strict=True)]
        return Table(self.name, numbers, rows)


def read_table(path: Path) -> Table:
    """
    Raises:
        BadLabels: it is no table, or an empty one.
        OSError: it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in SPREADSHEETS:
        raise BadLabels(f"{path} is a spreadsheet. Save it as CSV (UTF-8), and give that file.")
    read = {".parquet": read_parquet, ".pq": read_parquet, ".jsonl": read_json_lines, ".ndjson": read_json_lines}
    table = {**read, ".json": read_json_lines}.get(suffix, read_csv)(path)
    if not table.names or not (len(table) or table.is_csv):
        raise BadLabels(f"{path} has no rows. Give a table with a row for each image: {TABLE_KINDS}.")
    return table


def read_csv(path: Path) -> Table:
    text = read_text(path)
    share = sharing()
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    header: list[str] = []
    columns: list[list[str]] = []
    try:
        for line in lines:
            if not any(line):
                continue
            if not header:
                header = [name.strip() for name in line]
                columns = [[] for _ in header]
                continue
            if len(line) < len(header) or any(line[len(header) :]):
                raise BadLabels(
                    f"Line {lines.line_num} of {path} has {len(line)} fields, and its first line {len(header)}. "
                    "Put fields with a comma or a line break in them into quotation marks."
                )
            for column, value in zip(columns, line, strict=False):
                column.append(share(value.strip()))
    except csv.Error as error:
        raise BadLabels(f"Line {lines.line_num} of {path} is not CSV: {error}.") from None
    return Table(path.name, tuple(header), columns, is_csv=True)


def read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {error.start + 1:,} is 0x{error.object[error.start]:02x}"
        raise BadLabels(f"{path} is not UTF-8 text ({where}). Save it as {TABLE_KINDS}, in UTF-8.") from None


def delimiter_of(text: str) -> str:
    """By what is most frequent, outside of quotation marks, in the first line that is not empty."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", first)
    return max(DELIMITERS, key=bare.count) if any(map(bare.count, DELIMITERS)) else ","


def read_json_lines(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            example = '{"file": "1.jpg", "label": "cat"}'
            raise BadLabels(f"Line {number} of {path} is no JSON object. Give one on each line, such as {example}.")
        rows.append(row)
    return table_of(path.name, rows)


def table_of(name: str, rows: list[dict[str, Any]]) -> Table:
    """Of the columns of numbers and text in all rows, in the order in which they come."""
    share, names = sharing(), dict.fromkeys(key for row in rows for key in row)
    flat = [key for key in names if not any(isinstance(row.get(key), dict | list) for row in rows)]
    return Table(name, tuple(flat), [[share(text_of(row.get(key))) for row in rows] for key in flat])


def read_parquet(path: Path) -> Table:
    """Columns of bytes, lists and structures, such as encoded images, are passed over."""
    try:
        file = pyarrow.parquet.ParquetFile(path)
        flat = [field.name for field in file.schema_arrow if is_flat(field.type)]
        read = file.read(columns=flat)
    except (pyarrow.ArrowException, ValueError) as error:
        raise BadLabels(f"{path} is no Parquet file that can be read ({error}).") from None
    share = sharing()
    return Table(path.name, tuple(flat), [[share(text_of(v)) for v in read[name].to_pylist()] for name in flat])


def is_flat(kind: pyarrow.DataType) -> bool:
    kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    return not (pyarrow.types.is_nested(kind) or pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def text_of(value: Any) -> str:
    """As it would stand in CSV; a whole number without a fraction, however it is stored."""
    if value is None or value != value:  # NaN is how pandas stores nothing
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def sharing() -> Callable[[str], str]:
    """Keeps one of equal short texts, so that a class's name takes memory once and not in each row."""
    seen: dict[str, str] = {}
    return lambda text: seen.setdefault(text, text) if len(text) <= MAX_SHARED else text
