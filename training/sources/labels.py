"""How the images of a data set get their classes, splits and groups, where folders do not say."""

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from models.errors import UserError
from models.files.durable import sha256
from models.files.folders import expanded


class BadLabels(UserError):
    """A table of labels, or what is said of it, that cannot be used; says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Flags of `fit`, or the table `[labels]` of a retraining job.

    Attributes:
        file: a table with a row for each image: CSV, JSON Lines or Parquet; None where folders name the classes.
        path_column, label_column, split_column: names of its columns; "" where they are guessed.
        group_column: of images that have to be on one side of the split; "" where there is none.
        class_names: a file that names the classes which the table numbers.
        group_by: a regular expression that finds the group of an image in its path.
    """

    file: Path | None = None
    path_column: str = ""
    label_column: str = ""
    split_column: str = ""
    group_column: str = ""
    class_names: Path | None = None
    group_by: str = ""

    def __post_init__(self) -> None:
        """
        Raises:
            BadLabels: these do not go together, or `group_by` is no regular expression.
        """
        columns = {"path": self.path_column, "label": self.label_column, "split": self.split_column}
        given = [f"{kind} column" for kind, name in {**columns, "group": self.group_column}.items() if name]
        given += ["names of classes"] if self.class_names else []
        if given and self.file is None:
            raise BadLabels(f"A {given[0]} was given, but no table. Name the table, too: --labels, or `file` in a job.")
        if self.group_column and self.group_by:
            raise BadLabels("A group column and a pattern for groups were given; give one of them.")
        try:
            re.compile(self.group_by)
        except re.error as error:
            raise BadLabels(f"{self.group_by!r}, by which to group, is no regular expression: {error}.") from None

    def located(self, root: Path) -> "Labels":
        """With paths of files that exist: a table that is not there may lie in the folder of the images.

        Raises:
            BadLabels: there is no such file.
        """
        found = {name: existing(path, root) for name, path in self.files().items()}
        return replace(self, file=found.get("file"), class_names=found.get("class_names"))

    @property
    def grouping(self) -> str:
        """The column or the pattern of groups; "" where there is none."""
        return self.group_column or self.group_by

    def files(self) -> dict[str, Path]:
        """The files that were given, by the names of the attributes."""
        files = {"file": self.file, "class_names": self.class_names}
        return {name: path for name, path in files.items() if path is not None}

    def describe(self) -> dict[str, Any]:
        """What lineage records: everything that was said, and the contents of the files; {} where folders say all."""
        said = {name: value for name, value in asdict(self).items() if value}
        contents = {f"{name}_sha256": sha256(path) for name, path in self.files().items()}
        return {**said, **{name: path.name for name, path in self.files().items()}, **contents}


BY_FOLDERS = Labels()


def existing(path: Path, root: Path) -> Path:
    """
    Raises:
        BadLabels: it is neither where it was said to be nor in the folder of the images.
    """
    path = expanded(path)
    for place in (path, root / path):
        if place.is_file():
            return place
    if path.is_dir():
        raise BadLabels(f"{path} is a folder. Give the file of a table: CSV, JSON Lines or Parquet.")
    raise BadLabels(f"There is no file {path}, neither here nor in {root}.")
