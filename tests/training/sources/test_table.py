"""Tables as people's programs write them."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from training.sources.labels import BadLabels
from training.sources.table import Table, read_table

PLAIN = {"file": ["a.jpg", "b.jpg"], "label": ["cat", "dog"]}


def read(folder: Path, content: str | bytes, name: str = "labels.csv") -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def columns(table: Table) -> dict[str, list[str]]:
    return dict(zip(table.names, table.values, strict=True))


@pytest.mark.parametrize(
    "content",
    [
        "file,label\na.jpg,cat\nb.jpg,dog\n",
        "file,label\r\na.jpg,cat\r\nb.jpg,dog",
        "file;label\na.jpg;cat\nb.jpg;dog\n",
        "file\tlabel\na.jpg\tcat\nb.jpg\tdog\n",
        '"file","label"\n"a.jpg","cat"\n"b.jpg","dog"\n',
        "\ufefffile,label\na.jpg,cat\nb.jpg,dog\n",
        "file, label\n\na.jpg, cat \n\nb.jpg,dog\n\n",
        "file,label\na.jpg,cat,\nb.jpg,dog,,\n",
    ],
    ids=["plain", "CRLF", "semicolons", "tabs", "quoted", "byte order mark", "blanks", "commas at the end"],
)
def test_csv_is_read_however_it_was_written(tmp_path: Path, content: str) -> None:
    assert columns(read(tmp_path, content)) == PLAIN


def test_quoted_fields_may_have_delimiters_line_breaks_and_quotation_marks(tmp_path: Path) -> None:
    table = read(tmp_path, '"file,name";label\n"a;b.jpg";"two\nlines"\n"say ""cat"".jpg";dog\n')
    assert columns(table) == {"file,name": ["a;b.jpg", 'say "cat".jpg'], "label": ["two\nlines", "dog"]}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("file,label\na.jpg,caf\xe9\n".encode("latin-1"), r"is not UTF-8 text \(byte 21 is 0xe9\)\. Save it as CSV"),
        ("file,label\n".encode("utf-16"), r"is not UTF-8 text \(byte 1 is 0xff\)"),
        ("file,label\na.jpg,cat\nb.jpg\n", r"Line 3 of .*labels\.csv has 1 fields, and its first line 2\."),
        ("file,label\na.jpg,cat,brown\n", r"Line 2 of .* has 3 fields, and its first line 2\. Put fields with a comma"),
        ('file,label\n"a.jpg,cat\n', r"Line 2 of .* is not CSV: unexpected end of data"),
        ("", r"has no rows\. Give a table with a row for each image: CSV, JSON Lines \(\.jsonl\) or Parquet"),
    ],
    ids=["Latin-1", "UTF-16", "too few fields", "too many fields", "an open quotation mark", "empty"],
)
def test_csv_that_cannot_be_read_says_where(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    with pytest.raises(BadLabels, match=complaint):
        read(tmp_path, content)


def test_a_spreadsheet_has_to_be_saved_as_csv(tmp_path: Path) -> None:
    with pytest.raises(BadLabels, match=r"labels\.xlsx is a spreadsheet\. Save it as CSV"):
        read(tmp_path, b"PK", "labels.xlsx")


def test_the_first_line_can_be_a_row(tmp_path: Path) -> None:
    table = read(tmp_path, "a.jpg,cat\nb.jpg,dog\n").without_header()
    assert columns(table) == {"1": ["a.jpg", "b.jpg"], "2": ["cat", "dog"]}


def test_json_lines_give_columns_of_text_and_numbers(tmp_path: Path) -> None:
    lines = '{"file": "a.jpg", "label": 1, "box": [1, 2]}\n\n{"label": 2.0, "file": "b.jpg", "fold": null}\n'
    assert columns(read(tmp_path, lines, "labels.jsonl")) == {
        "file": ["a.jpg", "b.jpg"],
        "label": ["1", "2"],
        "fold": ["", ""],
    }


@pytest.mark.parametrize("line", ["[1, 2]", "file,label", '{"file": '])
def test_a_line_that_is_no_json_object_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadLabels, match=r"Line 2 of .*labels\.jsonl is no JSON object\. Give one on each line"):
        read(tmp_path, '{"file": "a.jpg"}\n' + line, "labels.jsonl")


def test_parquet_gives_its_columns_of_text_and_numbers(tmp_path: Path) -> None:
    written = pyarrow.table(
        {
            "image": [{"bytes": b"1"}, {"bytes": b"2"}],
            "data": [b"1", b"2"],
            "file": ["a.jpg", "b.jpg"],
            "label": pyarrow.array(["cat", None]).dictionary_encode(),
            "number": [3.0, float("nan")],
            "is_dog": [False, True],
        }
    )
    pyarrow.parquet.write_table(written, tmp_path / "labels.parquet")
    assert columns(read_table(tmp_path / "labels.parquet")) == {
        "file": ["a.jpg", "b.jpg"],
        "label": ["cat", ""],
        "number": ["3", ""],
        "is_dog": ["0", "1"],
    }


def test_what_is_no_parquet_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadLabels, match=r"labels\.parquet is no Parquet file"):
        read(tmp_path, "file,label\n", "labels.parquet")
