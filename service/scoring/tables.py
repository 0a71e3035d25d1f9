"""The files that `python -m service score` writes, by their suffix: the same rows and columns in each format.

.parquet    the schema's metadata say which model it was, and name the classes
.csv        with a header; the list of probabilities is a JSON list in one cell, and what is null is empty
.jsonl      one JSON object a line
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from models.errors import UserError

WORDS = ["label", "error"]  # columns that repeat themselves; a dictionary of the others would be as long as they are


class CsvWriter:
    """Rows as CSV (RFC 4180), in UTF-8."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        at = schema.get_field_index("probabilities")
        self._writer = pa.csv.CSVWriter(path, schema.set(at, pa.field("probabilities", pa.string())).remove_metadata())

    def __enter__(self) -> "CsvWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write_table(self, rows: pa.Table) -> None:
        at = rows.schema.get_field_index("probabilities")
        written = rows.set_column(at, "probabilities", lists_as_json(rows["probabilities"]))
        self._writer.write_table(written.replace_schema_metadata())


class JsonLinesWriter:
    """Rows as JSON Lines (https://jsonlines.org), in UTF-8."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._names = schema.names
        self._file = path.open("w", encoding="utf-8")

    def __enter__(self) -> "JsonLinesWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write_table(self, rows: pa.Table) -> None:
        columns = [as_json(rows[name]) for name in self._names]
        for cells in zip(*columns, strict=True):
            pairs = (f'"{name}": {cell}' for name, cell in zip(self._names, cells, strict=True))
            self._file.write(f"{{{', '.join(pairs)}}}\n")


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, use_dictionary=WORDS)


FORMATS: dict[str, Callable[[Path, pa.Schema], Any]] = {
    ".parquet": parquet_writer,
    ".csv": CsvWriter,
    ".jsonl": JsonLinesWriter,
}


def writer_for(output: Path) -> Callable[[Path, pa.Schema], Any]:
    """What writes tables as the suffix of the output says.

    Raises:
        UserError: it says nothing that is known.
    """
    if output.suffix.lower() not in FORMATS:
        raise UserError(
            f"{output} has the suffix {output.suffix!r}, and the suffix says what is written. "
            f"Give a name that ends with {', '.join(FORMATS)}."
        )
    return FORMATS[output.suffix.lower()]


def as_json(column: pa.ChunkedArray) -> list[str]:
    """Each cell as JSON; numbers with as many digits as float32 has."""
    if pa.types.is_string(column.type):
        return [json.dumps(text, ensure_ascii=False) for text in column.to_pylist()]
    texts = lists_as_json(column) if pa.types.is_list(column.type) else column.cast(pa.string())
    return ["null" if text is None else text for text in texts.to_pylist()]


def lists_as_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists of numbers as text such as [0.25,0.75]; null stays null."""
    joined = pc.binary_join(column.cast(pa.list_(pa.string())), ",")
    return pc.binary_join_element_wise("[", joined, "]", "")
