"""Which column of a table says the path of an image, its class, its split and its group."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from training.sources.labels import BadLabels, Labels
from training.sources.split_names import split_of
from training.sources.table import Table

PATH_NAMES = (  # in lower case, letters and digits alone; a later row counts where no column is of an earlier one
    {"file", "files", "filename", "filenames", "filepath", "filepaths", "path", "paths", "relativepath", "relpath"}
    | {"image", "images", "imagepath", "imagename", "imagefile", "imagefilename", "imgpath", "imgname", "img"}
    | {"fname", "filelocation", "picture", "photo"},
    {"imageid", "imgid", "imageindex", "fileid", "id", "idcode", "uid", "uuid", "name", "key"},
)
LABEL_NAMES = (
    {"label", "labels", "class", "classes", "classname", "classlabel", "labelname", "target", "targets", "category"}
    | {"categoryname", "diagnosis", "groundtruth"},
    {"classid", "labelid", "classindex", "categoryid", "targetid", "labelidx", "classidx", "y"}
    | {"dx", "species", "breed", "tag", "type", "grade", "kind"},
)
SPLIT_NAMES = {"split", "splits", "set", "subset", "fold", "partition", "dataset", "phase", "usage", "part"}
ALL_NAMES = (*PATH_NAMES, *LABEL_NAMES, SPLIT_NAMES)
MARKS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}  # of one-hot columns
NUM_TRIED = 20  # rows, to see whether a column names files
MAX_SHOWN = 20  # columns in a sentence


@dataclass(frozen=True, slots=True)
class Columns:
    """Attributes:
    path, label, split, group: names of columns; "" where there is none.
    one_hot: the columns of the classes, one of which is marked with 1 in each row; there is no label column then.
    guessed: the flags that name the columns which were guessed.
    """

    path: str
    label: str
    split: str
    group: str
    one_hot: tuple[str, ...]
    guessed: tuple[str, ...]

    def describe(self) -> str:
        """Which column is read as what, as the end of a sentence."""
        said = [f"images from column {self.path}"]
        if self.one_hot:
            said += [f"classes from the {len(self.one_hot)} one-hot columns {self.one_hot[0]} to {self.one_hot[-1]}"]
        else:
            said += [f"classes from column {self.label}"]
        said += [f"splits from column {self.split}"] if self.split else []
        said += [f"groups from column {self.group}"] if self.group else []
        guessed = f" (guessed; say otherwise with {', '.join(self.guessed)})" if self.guessed else ""
        return ", ".join(said) + guessed


def choose_columns(table: Table, labels: Labels, is_file: Callable[[str], bool]) -> Columns:
    """The columns that were named, and for the others those that are usually called so.

    Args:
        is_file: whether a text names a file among the images.

    Raises:
        BadLabels: a column is missing or not to be told; lists what there is and the flag that names it.
    """
    given = {flag: name for flag, name in flags_of(labels).items() if name}
    for flag, name in given.items():
        check_column(table, name, flag)
    path = labels.path_column or guess_path(table, unused(table, given.values()), is_file)
    taken = {path, *given.values()}
    split = labels.split_column or guess_split(table, unused(table, taken))
    rest = unused(table, {*taken, split})
    label = labels.label_column or guess_label(table, rest)
    one_hot = () if label else one_hot_columns(table, rest)
    if not label and not one_hot:
        raise BadLabels(unrecognized(table, "class", "--label-column"))
    found = {"--path-column": path, "--label-column": label or one_hot, "--split-column": split}
    guessed = tuple(flag for flag, name in found.items() if name and flag not in given)
    return Columns(path, label, split, labels.group_column, one_hot, guessed)


def flags_of(labels: Labels) -> dict[str, str]:
    return {
        "--path-column": labels.path_column,
        "--label-column": labels.label_column,
        "--split-column": labels.split_column,
        "--group-column": labels.group_column,
    }


def check_column(table: Table, name: str, flag: str) -> None:
    count = table.names.count(name)
    if count != 1:
        what = f"{count} columns are called {name!r}" if count else f"has no column {name!r}"
        raise BadLabels(f"{table.name} {what}, which {flag} names. {its_columns(table)}")


def unused(table: Table, taken: Iterable[str]) -> list[str]:
    """The columns that a name tells from all others, without those taken."""
    return [name for name in table.names if name and name not in set(taken) and table.names.count(name) == 1]


def guess_path(table: Table, names: list[str], is_file: Callable[[str], bool]) -> str:
    """The column that names files; by its name where several do, or none does."""
    naming = [name for name in names if mostly(map(is_file, some_of(table.column(name))))]
    candidates = usual(naming or names, PATH_NAMES) or naming
    if len(candidates) != 1:
        raise BadLabels(unrecognized(table, "image", "--path-column", candidates))
    return candidates[0]


def guess_label(table: Table, names: list[str]) -> str:
    """ "" where there is none. The only column that is left is taken whatever its name."""
    candidates = usual(names, LABEL_NAMES) or (names if len(names) == 1 else [])
    if len(candidates) > 1:
        raise BadLabels(unrecognized(table, "class", "--label-column", candidates))
    return candidates[0] if candidates else ""


def guess_split(table: Table, names: list[str]) -> str:
    """The column that is called so and says nothing but names of splits; "" where there is none."""
    found = [name for name in usual(names, (SPLIT_NAMES,)) if says_splits(table.column(name))]
    return found[0] if len(found) == 1 else ""


def says_splits(values: list[str]) -> bool:
    return any(values) and all(map(split_of, {value for value in values if value}))


def one_hot_columns(table: Table, names: list[str]) -> tuple[str, ...]:
    """All of these columns, if there is nothing but 0 and 1 in them; () otherwise."""
    are = len(names) > 1 and all(value.lower() in MARKS for name in names for value in set(table.column(name)))
    return tuple(names) if are else ()


def marked(table: Table, one_hot: tuple[str, ...]) -> list[str]:
    """The class that each row marks; "" where it marks none, or several.

    Raises:
        BadLabels: most rows mark several, or none.
    """
    rows = zip(*(table.column(name) for name in one_hot), strict=True)
    chosen = [[name for name, mark in zip(one_hot, row, strict=True) if MARKS[mark.lower()]] for row in rows]
    if not mostly(len(names) == 1 for names in chosen):
        raise BadLabels(
            f"The columns {', '.join(one_hot[:MAX_SHOWN])} of {table.name} have 0 and 1 in them, but most rows do not "
            "have exactly one 1. An image has one class here; name the column of the class with --label-column."
        )
    return [names[0] if len(names) == 1 else "" for names in chosen]


def usual(names: Iterable[str], known: Iterable[set[str]]) -> list[str]:
    """The names that are known, by the first of these sets that has any of them."""
    for some in known:
        found = [name for name in names if re.sub(r"[\W_]", "", name.lower()) in some]
        if found:
            return found
    return []


def some_of(values: list[str]) -> list[str]:
    return list(islice(filter(None, values), NUM_TRIED))


def mostly(answers: Iterable[bool]) -> bool:
    """Whether more than half are so."""
    listed = list(answers)
    return sum(listed) > len(listed) / 2


def unrecognized(table: Table, what: str, flag: str, candidates: Iterable[str] = ()) -> str:
    several = " or ".join(candidates)
    why = f"it may be {several}" if several else "none has a usual name for it"
    return f"Which column of {table.name} names the {what} cannot be told: {why}. {its_columns(table)} Give {flag}."


def its_columns(table: Table) -> str:
    more = f" and {len(table.names) - MAX_SHOWN} more" if len(table.names) > MAX_SHOWN else ""
    return f"Its columns are {', '.join(map(repr, table.names[:MAX_SHOWN]))}{more}."
