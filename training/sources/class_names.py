"""A file that names the classes which a table numbers.

One name on each line, the first of which is class 0; or lines of number and name, divided by a comma, a semicolon, a
tab or a blank; or JSON: a list of names, {"0": "cat"} or {"cat": 0}.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from training.sources.labels import BadLabels
from training.sources.table import read_text

NUMBERED = re.compile(r"(\d+)\s*[,;:\t ]\s*(\S.*)")
FORMS = "Give a name on each line (the first is class 0), lines of number and name, or a JSON list or object"


def read_class_names(path: Path) -> dict[str, str]:
    """{label in the table: name of the class}

    Raises:
        BadLabels: it is not such a file, or two classes have one name.
        OSError: it cannot be read.
    """
    text = read_text(path).strip()
    if not text:
        raise BadLabels(f"{path} is empty. {FORMS}.")
    names = names_of_json(path, text) if text[0] in "[{" else names_of_lines(text.splitlines())
    name, count = Counter(names.values()).most_common(1)[0]
    if count > 1:
        raise BadLabels(f"{path} has the name {name!r} for {count} classes. Give each a name of its own.")
    return names


def names_of_lines(lines: list[str]) -> dict[str, str]:
    lines = [line.strip() for line in lines if line.strip()]
    matches = [NUMBERED.fullmatch(line) for line in lines]
    has_header = len(lines) > 2 and matches[0] is None  # "id,name"
    numbered = [match for match in matches[has_header:] if match]
    if len(numbered) == len(lines) - has_header and len({int(match[1]) for match in numbered}) == len(numbered):
        return {str(int(match[1])): match[2].strip().strip('"') for match in numbered}
    return {str(i): line.strip('"') for i, line in enumerate(lines)}


def names_of_json(path: Path, text: str) -> dict[str, str]:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadLabels(f"{path} begins as JSON and is none ({error}). {FORMS}.") from None
    pairs = list(enumerate(value)) if isinstance(value, list) else list(value.items())
    if all(isinstance(name, str) for _, name in pairs):
        return {str(key): str(name) for key, name in pairs}
    if isinstance(value, dict) and all(type(number) is int for _, number in pairs):
        return {str(number): str(name) for name, number in pairs}
    raise BadLabels(f"{path} has values that are no names. {FORMS}.")


def named(labels: list[str], names: dict[str, str], path: Path, table: str) -> list[str]:
    """The names of a table's labels; "" stays.

    Raises:
        BadLabels: a label has no name.
    """
    unknown = sorted({label for label in labels if label and label not in names}, key=lambda label: (len(label), label))
    if unknown:
        used = len({label for label in labels if label})
        raise BadLabels(
            f"The label {unknown[0]} of {table} has no name in {path}: that has {len(names):,} names, of "
            f"{span(list(names))}, and the table {used:,} labels, {span([label for label in set(labels) if label])}. "
            f"{FORMS} that names each label."
        )
    return [names[label] if label else "" for label in labels]


def span(labels: list[str]) -> str:
    """0 to 9"""
    ordered = sorted(labels, key=lambda label: (len(label), label))
    return f"{ordered[0]} to {ordered[-1]}"
