"""What a path is as a model, and a copy of it in a folder of ours; nothing here needs TensorFlow, Keras or HDF5.

    <folder>/model.keras    written anew from the three files that a model of Keras 3 consists of
    <folder>/model.h5       a copy; whether it is a whole model says `training.foreign.model_check`
    <folder>/model/         a SavedModel: the files that TensorFlow reads, and no others
    <folder>/labels.txt     the names of the classes, where an archive or a folder has them beside the model

What a file is follows from its content, and from its name only where the content does not tell.
"""

import json
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from models.errors import UserError
from models.files.folders import is_passed_over
from training.foreign.keras_config import read_config
from training.foreign.refused import ACCEPTED, WEIGHTS_ONLY, refusal_of
from training.sources.archive import Limits, unpack_into

Kind = Literal["keras", "h5", "saved_model"]
OF_MODELS = Limits("models", max_entries=10_000, ratio=200, always_allowed=1 << 30)
KERAS_PARTS = ("metadata.json", "config.json", "model.weights.h5")
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5_SUFFIXES = (".h5", ".hdf5")
LABELS = ("labels.txt", "class_names.txt")
SAVED_MODEL = "saved_model.pb"
SAVED_MODEL_FILES = (SAVED_MODEL, "keras_metadata.pb", "fingerprint.pb")
SAVED_MODEL_FOLDERS = ("variables", "assets")
DEEPEST = 4  # folders below the one that is given
LARGEST_LABELS = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Source:
    """A model that was copied.

    Attributes:
        path: the copy: a file, or the folder of a SavedModel.
        labels: the copy of the file with the names of the classes, if there was one.
        left_out: files of a SavedModel's folder that TensorFlow does not read, relative to it.
    """

    kind: Kind
    path: Path
    labels: Path | None = None
    left_out: tuple[str, ...] = ()


def copy_model(given: Path, folder: Path) -> Source:
    """Find the one model at a path, and copy it into an existing empty folder.

    Raises:
        UserError: it is no model that can be imported, several, or damaged; says what is accepted.
    """
    if given.is_dir():
        return copy_from_folder(given, folder, given)
    if not given.is_file():
        raise UserError(f"{given} is neither a file nor a folder. {ACCEPTED}")
    kind = kind_of(given)
    if kind != "archive":
        return copy_file(given, kind, folder)
    unpacked = folder / "unpacked"
    unpack_into(unpacked, given, OF_MODELS)
    try:
        return copy_from_folder(unpacked, folder, given)
    finally:
        shutil.rmtree(unpacked)


def kind_of(path: Path) -> Literal["keras", "h5", "archive"]:
    """What a file is.

    Raises:
        UserError: a file of another kind; says what to do with it.
    """
    head = head_of(path)
    if head.startswith(HDF5_SIGNATURE):
        return "h5"
    if refusal := refusal_of(path, head):
        raise UserError(refusal)
    if zipfile.is_zipfile(path):
        return kind_of_zip(path)
    if tarfile.is_tarfile(path):
        return "archive"
    if path.suffix.lower() in (*HDF5_SUFFIXES, ".keras"):
        raise UserError(f"{path} is damaged: its content is not that of a {path.suffix} file. Get it again.")
    raise UserError(f"{path} is no model that is known here. {ACCEPTED}")


def head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def kind_of_zip(path: Path) -> Literal["keras", "archive"]:
    try:
        with zipfile.ZipFile(path) as opened:
            names = set(opened.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"{path} is damaged ({error}). Get it again.") from None
    if path.suffix.lower() == ".keras" or {"config.json", "model.weights.h5"} <= names:
        return "keras"
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        raise UserError(WEIGHTS_ONLY.format(path=path))
    return "archive"


def copy_file(given: Path, kind: Literal["keras", "h5"], folder: Path) -> Source:
    target = folder / f"model.{kind}"
    if kind == "keras":
        write_keras(given, target)
    else:
        shutil.copyfile(given, target)
    return Source(kind, target)


def write_keras(given: Path, target: Path) -> None:
    """Write the three parts of a `.keras` file into another, so that nothing else comes with them.

    The configuration is the one that `read_config` has accepted, without what the model was compiled with.

    Raises:
        UserError: it has not exactly these parts, or a class in the configuration is not accepted.
    """
    parts = target.with_name("parts")
    unpack_into(parts, given, OF_MODELS)
    try:
        names = {path.relative_to(parts).as_posix() for path in parts.rglob("*") if path.is_file()}
        if others := sorted(names - set(KERAS_PARTS)):
            raise UserError(
                f"{given} has {others[0]!r} in it, which is no part of a network for images: that has "
                f"{', '.join(KERAS_PARTS)}. Save it again with model.save('model.keras'), or export a SavedModel with "
                "model.export('folder')."
            )
        if missing := [name for name in KERAS_PARTS if name not in names]:
            raise UserError(f"{given} is no model of Keras: it has no {' and no '.join(missing)}. Save it again.")
        config = read_config((parts / "config.json").read_bytes())
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as written:
            written.writestr("metadata.json", (parts / "metadata.json").read_bytes())
            written.writestr("config.json", json.dumps(config))
            written.write(parts / "model.weights.h5", "model.weights.h5")
    finally:
        shutil.rmtree(parts)


def copy_from_folder(searched: Path, folder: Path, given: Path) -> Source:
    """Copy the one model in a folder, and the names of its classes.

    Raises:
        UserError: there is no model in it, or there are several.
    """
    found = list(islice(contents(searched), OF_MODELS.max_entries + 1))
    if len(found) > OF_MODELS.max_entries:
        raise UserError(f"{given} has more than {OF_MODELS.max_entries:,} files. Give the model that is in it.")
    models = [path for path in found if path.name == SAVED_MODEL or path.suffix.lower() in (".keras", *HDF5_SUFFIXES)]
    whole = [path for path in models if not path.name.endswith(".weights.h5")] or models
    if not whole:
        raise no_model(given, found)
    if len(whole) > 1:
        names = ", ".join(sorted(str(path.relative_to(searched)) for path in whole)[:5])
        raise UserError(f"{given} has {len(whole)} models in it ({names}). Give one of them.")
    model = whole[0]
    labels = copy_labels(searched, model, found, folder)
    if model.name != SAVED_MODEL:
        kind = kind_of(model)
        if kind == "archive":
            raise UserError(f"{given} has {model.name} in it, which is no model. {ACCEPTED}")
        copied = copy_file(model, kind, folder)
        return Source(copied.kind, copied.path, labels)
    left_out = copy_saved_model(model.parent, folder / "model")
    return Source("saved_model", folder / "model", labels, left_out)


def contents(folder: Path, depth: int = 0) -> Iterator[Path]:
    """The regular files below a folder, not behind links, and without the variables and assets of SavedModels."""
    for entry in sorted(folder.iterdir()):
        mode = entry.lstat().st_mode
        if is_passed_over(entry.name):
            continue
        if stat.S_ISREG(mode):
            yield entry
        elif stat.S_ISDIR(mode) and depth < DEEPEST and entry.name not in SAVED_MODEL_FOLDERS:
            yield from contents(entry, depth + 1)


def no_model(given: Path, found: list[Path]) -> UserError:
    for path in found:
        if refusal := refusal_of(path, head_of(path)):
            return UserError(refusal)
    return UserError(f"{given} has no model in it. {ACCEPTED}")


def copy_labels(searched: Path, model: Path, found: list[Path], folder: Path) -> Path | None:
    """The names of classes that lie beside the model, or else at the top, as Teachable Machine has them."""
    for beside in (model.parent, searched):
        for name in LABELS:
            path = beside / name
            if path in found and path.stat().st_size <= LARGEST_LABELS:
                shutil.copyfile(path, folder / LABELS[0])
                return folder / LABELS[0]
    return None


def copy_saved_model(given: Path, target: Path) -> tuple[str, ...]:
    """Copy the files of a SavedModel; returns what was left out.

    Raises:
        UserError: a part of it is a link or a device, or there are too many files.
    """
    target.mkdir()
    left_out = []
    for entry in sorted(given.iterdir()):
        if entry.name in SAVED_MODEL_FILES:
            copy_regular(entry, target / entry.name)
        elif entry.name in SAVED_MODEL_FOLDERS:
            copy_tree(entry, target / entry.name)
        else:
            left_out.append(entry.name)
    return tuple(left_out)


def copy_tree(given: Path, target: Path, depth: int = 0) -> None:
    if not stat.S_ISDIR(given.lstat().st_mode) or depth > DEEPEST:
        raise UserError(f"{given} is no folder, or lies too deep for a SavedModel. Copy the model without links.")
    target.mkdir()
    entries = sorted(given.iterdir())
    if len(entries) > OF_MODELS.max_entries:
        raise UserError(f"{given} has {len(entries):,} files; a SavedModel has {OF_MODELS.max_entries:,} at most.")
    for entry in entries:
        if stat.S_ISDIR(entry.lstat().st_mode):
            copy_tree(entry, target / entry.name, depth + 1)
        else:
            copy_regular(entry, target / entry.name)


def copy_regular(given: Path, target: Path) -> None:
    """
    Raises:
        UserError: it is a link, a pipe or a device.
    """
    try:
        descriptor = os.open(given, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise UserError(
            f"{given} is a link, or cannot be read ({error.strerror}). Copy the model without links."
        ) from None
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UserError(f"{given} is no regular file. Copy the model without devices and pipes.")
        with target.open("xb") as written:
            shutil.copyfileobj(source, written, 1 << 20)
