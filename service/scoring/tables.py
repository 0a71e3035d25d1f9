"""The files that `striate score` writes, by their suffix: the same rows and columns in each format.

.parquet    the schema's metadata say which model it was, and name the classes
.csv        with a header; a list is a JSON list in one cell, and what is null is empty
.jsonl      one JSON object a line
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from models.errors import UserError

Write = Callable[[pa.Table], object]
WORDS = ["label", "error"]  # columns with repeated values, which Parquet stores as a dictionary


@contextlib.contextmanager
def csv_writer(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """CSV (RFC 4180) in UTF-8."""
    flat = pa.schema([pa.field(field.name, pa.string() if is_list(field) else field.type) for field in schema])
    with pa.csv.CSVWriter(path, flat) as writer:
        yield lambda rows: writer.write_table(
            pa.table([lists_as_json(rows[f.name]) if is_list(f) else rows[f.name] for f in schema], flat)
        )


@contextlib.contextmanager
def json_lines_writer(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """JSON Lines (https://jsonlines.org) in UTF-8."""
    with path.open("w", encoding="utf-8") as file:

        def write(rows: pa.Table) -> None:
            for cells in zip(*(as_json(rows[name]) for name in schema.names), strict=True):
                pairs = (f'"{name}": {cell}' for name, cell in zip(schema.names, cells, strict=True))
                file.write(f"{{{', '.join(pairs)}}}\n")

        yield write


@contextlib.contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(path, schema, use_dictionary=WORDS) as writer:
        yield writer.write_table


FORMATS: dict[str, Callable[[Path, pa.Schema], AbstractContextManager[Write]]] = {
    ".parquet": parquet_writer,
    ".csv": csv_writer,
    ".jsonl": json_lines_writer,
}


def writer_for(output: Path) -> Callable[[Path, pa.Schema], AbstractContextManager[Write]]:
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


def is_list(column: pa.Field | pa.ChunkedArray) -> bool:
    found: bool = pa.types.is_list(column.type)
    return found


def as_json(column: pa.ChunkedArray) -> list[str]:
    """Each cell as JSON; numbers with as many digits as float32 has."""
    if pa.types.is_string(column.type):
        return [json.dumps(text, ensure_ascii=False) for text in column.to_pylist()]
    texts = lists_as_json(column) if is_list(column) else column.cast(pa.string())
    return ["null" if text is None else text for text in texts.to_pylist()]


def lists_as_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists as text such as [0.25,0.75] or ["cat", "dog"]; null stays null."""
    if pa.types.is_string(column.type.value_type):
        rows = [None if row is None else json.dumps(row, ensure_ascii=False) for row in column.to_pylist()]
        return pa.chunked_array([rows], pa.string())
    joined = pc.binary_join(column.cast(pa.list_(pa.string())), ",")
    return pc.binary_join_element_wise("[", joined, "]", "")
