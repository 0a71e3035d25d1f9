"""The names of classes, as people keep them beside a model.

A text file with one a line, where each may have its number before it (Teachable Machine: "0 Cat"); JSON: a list, or an
object of index -> name or of name -> index; CSV: a column of names, or one of numbers and one of names.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from models.bundle.class_names import all_nfc
from models.errors import UserError

LARGEST = 10_000_000  # bytes of a file of names
NUMBERED = re.compile(r"\s*(\d+)[\s:,;]+(.+)")


class BadClassNames(UserError):
    """The file does not name classes."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """
    Raises:
        BadClassNames: the file cannot be read, names a class twice or not at all, or its numbers are not 0 to N - 1.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise BadClassNames(f"{path} is larger than {LARGEST:,} bytes, and names of classes are not.")
        text = path.read_text(encoding="utf-8-sig")
        found = READERS.get(path.suffix.lower(), of_text)(text)
    except (OSError, ValueError) as error:
        raise BadClassNames(
            f"{path} does not name classes ({error}); write one name a line, a JSON list, or a CSV of number and name."
        ) from None
    names = all_nfc(tuple(name.strip() for name in found))
    if len(names) < 2 or not all(names):
        raise BadClassNames(f"{path} has {len(names)} names; two or more are needed, and none may be empty.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadClassNames(f"{path} names {twice[0]!r} more than once; each class needs its own name.")
    return names


def of_text(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    numbered = [NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered) and sorted(int(each[1]) for each in numbered if each) == list(range(len(lines))):
        return ordered({int(each[1]): each[2] for each in numbered if each})
    return lines


def of_json(text: str) -> list[str]:
    value: Any = json.loads(text)
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), list | dict):
        value = next(iter(value.values()))  # {"labels": [...]}
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    if isinstance(value, dict):
        if all(isinstance(name, str) and number.isdecimal() for number, name in value.items()):
            return ordered({int(number): name for number, name in value.items()})
        if all(isinstance(number, int) for number in value.values()):  # class_indices of Keras
            return ordered({number: name for name, number in value.items()})
        if all(isinstance(pair, list) and len(pair) == 2 for pair in value.values()):  # imagenet_class_index.json
            return ordered({int(number): str(pair[1]) for number, pair in value.items()})
    raise ValueError("it is no list of names, and no object of numbers and names")


def of_csv(text: str) -> list[str]:
    rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    if rows and all(len(row) == 1 for row in rows):
        names = [row[0] for row in rows]
        return names[1:] if names[0].strip().lower() in ("name", "class", "label", "class_name") else names
    if not rows or any(len(row) < 2 for row in rows):
        raise ValueError("its rows have different numbers of cells")
    if not any(cell.strip().isdecimal() for cell in rows[0]):
        rows = rows[1:]  # a header
    number = next((i for i in range(2) if all(row[i].strip().isdecimal() for row in rows)), None)
    if number is None:
        raise ValueError("neither of its first two columns holds numbers")
    return ordered({int(row[number]): row[1 - number] for row in rows})


def ordered(names: dict[int, str]) -> list[str]:
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"its numbers are not 0 to {len(names) - 1}")
    return [names[number] for number in range(len(names))]


READERS = {".json": of_json, ".csv": of_csv}


def check_number(names: tuple[str, ...], num_classes: int, source: str) -> None:
    """
    Raises:
        BadClassNames: there are more or fewer names than classes.
    """
    if len(names) != num_classes:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise BadClassNames(
            f"{source} names {len(names):,} classes ({shown}), and the model answers with {num_classes:,} numbers: "
            "give the list that it was trained with, in its order."
        )


def names_of_folders(folders: Iterable[str], num_classes: int) -> tuple[str, ...]:
    """The names of the classes of a model that tells none: those of the folders in alphabetical order, if there is one
    for each class; or class 0 and so on, where the folders are called so.

    Raises:
        BadClassNames: there are folders with other names, and not one for each class.
    """
    found, numbered = sorted(set(folders)), tuple(f"class {i}" for i in range(num_classes))
    if len(found) == num_classes:
        return tuple(found)
    if not {plain(name) for name in found} <= set(numbered):
        raise BadClassNames(
            f"The model names none of its {num_classes:,} classes, and --images has {len(found):,} folders "
            f"({', '.join(found[:5])}{', …' if len(found) > 5 else ''}), so that nothing tells which is which: name "
            "the classes in the model's order with --labels FILE."
        )
    return numbered


def match_folders(folders: Sequence[str], names: tuple[str, ...]) -> list[int]:
    """The position of each folder's class; capitals, blanks, `_` and `-` do not count.

    Raises:
        BadClassNames: a folder is called like no class.
    """
    positions = {plain(name): i for i, name in enumerate(names)}
    unknown = [folder for folder in folders if plain(folder) not in positions]
    if unknown:
        raise BadClassNames(
            f"--images has a folder {unknown[0]!r}, and no class is called so; the classes are {', '.join(names[:10])}"
            f"{', …' if len(names) > 10 else ''}. Rename the folder, or leave it out."
        )
    return [positions[plain(folder)] for folder in folders]


def plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
