"""Index of a data set whose classes a table names: the files lie in one folder, however deep, and in any arrangement.

    images/a.jpg  images/more/b.jpg          labels.csv:  file,class,fold,patient
                                                          a.jpg,cat,train,17

Which columns are read is in `training.sources.columns`, which file a path means in `training.sources.file_finder`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath

from models.bundle.class_names import BadClassName, check_class_name
from models.files.folders import files_below
from training.data.index import Index, Listing, assemble, common_top, listing_of_folders
from training.data.layout import IMAGES, check_is_folder
from training.data.path_table import Paths
from training.sources.class_names import named, read_class_names
from training.sources.columns import ALL_NAMES, Columns, choose_columns, marked, says_splits, usual
from training.sources.file_finder import FileFinder, OutsideFolder
from training.sources.groups import number_groups
from training.sources.labels import BadLabels, Labels
from training.sources.split_names import split_of
from training.sources.table import Table, read_table

MAX_SHOWN = 3  # rows in a sentence
NO_CLASS = "its row in the table has no class"
Rows = dict[str, "Row"]  # by the path of the file


@dataclass(frozen=True, slots=True)
class Row:
    """What a table says of an image."""

    label: str
    split: str
    group: str


@dataclass(frozen=True, slots=True)
class Match:
    """The rows of a table and the files of a folder."""

    rows: Rows
    left_out: dict[str, str]  # {path: why its row is not used}
    missing: list[str]  # what rows name that is no file
    notes: list[str]


def index_table(root: Path, labels: Labels, more: Sequence[Path] = ()) -> Index:
    """Find the files that a table names, in the order of their paths.

    Args:
        root: the folder that all images lie in.
        labels: with the table; where the file is not found, it may lie in `root`.
        more: folders of further images, with a folder per class, as in `training.data.index.index_folder`.

    Raises:
        BadLabels, BadData: the table cannot be read, its columns cannot be told, or it does not fit the folder.
    """
    check_is_folder(root)
    root = root.resolve()
    top = common_top(root, more)
    labels = labels.located(root)
    left_out: dict[str, str] = {}

    def note(path: str, reason: str) -> None:
        left_out[os.path.relpath(path, top)] = reason

    files = FileFinder(root, files_below(root, root, note), IMAGES)
    match = match_table(root, labels, files)
    prefix = f"{root.relative_to(top)}/" if top != root else ""
    left_out |= {prefix + path: reason for path, reason in match.left_out.items()}
    found = listing_of_rows(match.rows, prefix)
    for key, paths in listing_of_folders({}, more, top, note).items():
        found[key] = Paths.joined([found[key], paths]) if key in found else paths
    index = assemble(top, found)
    if len(index.class_names) < 2:
        raise BadLabels(f"{labels.file} names one class only, {index.class_names[0]!r}. Give a table of two or more.")
    groups = (row_group(path, prefix, match.rows) for path in index.paths)
    unlisted = (path for path in files.paths if path not in match.rows and path not in match.left_out)
    return replace(
        index,
        left_out=left_out,
        groups=number_groups(groups) if labels.group_column else None,
        notes=tuple(match.notes),
        unlisted=tuple(path for path in unlisted if PurePath(path).suffix.lower() in IMAGES),
        missing=tuple(match.missing),
    )


def row_group(path: str, prefix: str, rows: Rows) -> str:
    row = rows.get(path.removeprefix(prefix))
    return row.group if row and path.startswith(prefix) else ""


def listing_of_rows(rows: Rows, prefix: str) -> Listing:
    """The files by split and class."""
    found: dict[tuple[str, str], list[str]] = {}
    for path, row in rows.items():
        found.setdefault((row.split, row.label), []).append(prefix + path)
    return {key: Paths.of(paths) for key, paths in found.items()}


def match_table(root: Path, labels: Labels, files: FileFinder) -> Match:
    """Read the table and find its files."""
    assert labels.file is not None
    table, bases = read_table(labels.file), (root, labels.file.resolve().parent, root.parent)

    def is_file(said: str) -> bool:
        return files.names_a_file(said, bases)

    notes = []
    if table.is_csv and not usual(table.names, ALL_NAMES) and any(map(is_file, table.names)):
        notes.append(f"{table.name}: its first line names an image, so that its columns are called 1, 2, ...")
        table, labels = by_position(table, labels, is_file)
    if not len(table):
        raise BadLabels(f"{table.name} has a first line and no rows. Give a table with a row for each image.")
    columns = choose_columns(table, labels, is_file)
    notes.append(f"{table.name}: {columns.describe()}")
    base, found = find_files(table, table.column(columns.path), files, bases)
    if base != root:
        notes.append(f"{table.name}: its paths are relative to {base}, and not to {root}")
    rows = list(rows_of(table, columns, labels, notes))
    return joined_by_file(table, columns, rows, found, files, notes)


def by_position(table: Table, labels: Labels, is_file: Callable[[str], bool]) -> tuple[Table, Labels]:
    """A table whose first line is an image already, and its columns: the path is where a file is named, the class is in
    the first of the others, and a split where nothing else is said.
    """
    path = str(next(i for i, name in enumerate(table.names, 1) if is_file(name)))
    table = table.without_header()
    label, *others = [name for name in table.names if name != path] or [path]
    split = next((name for name in others if says_splits(table.column(name))), "")
    given = {name: value for name, value in asdict(labels).items() if value}
    return table, Labels(**{"path_column": path, "label_column": label, "split_column": split, **given})


def find_files(table: Table, said: list[str], files: FileFinder, bases: Sequence[Path]) -> tuple[Path, list[list[str]]]:
    """The folder that paths are relative to, which is the first in which any is found, and the files each may mean.

    Raises:
        OutsideFolder: a path leads out of the folder of the images.
        BadLabels: none is a file.
    """
    for base in bases:
        found = [find_or_none(files, text, base) if text else [] for text in said]
        if any(found):
            for text, files_meant in zip(said, found, strict=True):
                if files_meant is None:
                    files.find(text, base)  # raises
            return base, [files_meant or [] for files_meant in found]
    for text in filter(None, said):
        files.find(text, bases[0])
    raise BadLabels(
        f"None of the {len(said):,} files that {table.name} names ({shown(said)}) is in {bases[0]}. Give --data the "
        "folder that the table's paths are relative to."
    )


def find_or_none(files: FileFinder, said: str, base: Path) -> list[str] | None:
    try:
        return files.find(said, base)
    except OutsideFolder:
        return None


def rows_of(table: Table, columns: Columns, labels: Labels, notes: list[str]) -> Iterator[Row]:
    """What each row of the table says.

    Raises:
        BadLabels: a class or a split has a name that none can have.
    """
    said = marked(table, columns.one_hot) if columns.one_hot else whole_numbers(table.column(columns.label))
    if labels.class_names:
        names = read_class_names(labels.class_names)
        said = named(said, names, labels.class_names, table.name)
        used = len(set(filter(None, said)))
        if used < len(names):
            notes.append(f"{labels.class_names.name}: {used:,} of its {len(names):,} classes are in the table")
    checked = {name: checked_name(table, name) for name in set(said)}
    nothing = [""] * len(table)
    splits = table.column(columns.split) if columns.split else nothing
    known = {name: checked_split(table, columns.split, name) for name in set(splits)}
    groups = table.column(columns.group) if columns.group else nothing
    if columns.group and not any(groups):
        raise BadLabels(f"The column {columns.group!r} of {table.name}, by which to group images, is empty.")
    if columns.group:
        notes.append(f"{table.name}: {len(set(filter(None, groups))):,} groups, each on one side of the split")
    for label, split, group in zip(said, splits, groups, strict=True):
        yield Row(checked[label], known[split], group)


def whole_numbers(labels: list[str]) -> list[str]:
    """Classes that are all numbered as 3.0, as spreadsheets do where a number is missing, are numbered 3."""
    are = all(label.endswith(".0") and label[:-2].isdecimal() for label in set(labels) if label)
    return [label.removesuffix(".0") for label in labels] if are else labels


def checked_name(table: Table, name: str) -> str:
    try:
        return check_class_name(name) if name else ""
    except BadClassName as error:
        raise BadLabels(f"{table.name} has a class that cannot be one. {error}") from None


def checked_split(table: Table, column: str, name: str) -> str:
    split = split_of(name)
    if name and not split:
        raise BadLabels(
            f"{table.name} has the split {name!r} in column {column}. Accepted are train, val (valid, validation, dev) "
            "and test (testing, eval), and nothing for images that are to be divided."
        )
    return split


def joined_by_file(
    table: Table, columns: Columns, rows: list[Row], found: list[list[str]], files: FileFinder, notes: list[str]
) -> Match:
    """Each file with its row; without those that have no class, or of which two rows say different things."""
    said, first, left_out, missing = table.column(columns.path), dict[str, Row](), dict[str, str](), list[str]()
    for text, row, meant in zip(said, rows, found, strict=True):
        if len(meant) != 1:
            missing.append(
                f"{text} may be {' or '.join(meant[:MAX_SHOWN])}" if meant else text or "a row without a path"
            )
            continue
        (path,) = meant
        before = first.setdefault(path, row)
        if not row.label:
            left_out[path] = NO_CLASS
        elif before != row:
            left_out[path] = f"rows of the table say different things: {differences(before, row)}"
    used = {path: first[path] for path in files.paths if path in first and path not in left_out}
    if not used:
        reasons = ", ".join(f"{path} ({reason})" for path, reason in list(left_out.items())[:MAX_SHOWN])
        raise BadLabels(f"{table.name} gives no image a class that can be used: {reasons}.")
    return Match(used, left_out, missing, notes)


def differences(one: Row, other: Row) -> str:
    pairs = ((one.label, other.label), (one.split, other.split), (one.group, other.group))
    return ", ".join(f"{a or 'nothing'} and {b or 'nothing'}" for a, b in pairs if a != b)


def shown(texts: Iterable[str]) -> str:
    return ", ".join([text for text in texts if text][:MAX_SHOWN])
