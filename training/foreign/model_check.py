"""Looks through a `.keras` or `.h5` file before Keras loads it; in the confined process, since HDF5 is a C library.

`training.confinement.confinement.run_confined` can call it on its own, and a loader should call `check_model` first.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import h5py

from models.errors import UserError
from training.foreign.keras_config import read_config

NUMBERS = "fiub"  # kinds of NumPy
MOST_OBJECTS = 200_000
LARGEST_RATIO = 20  # bytes of the arrays to bytes of the file; trained weights cannot be compressed much
DAMAGED = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """`check_model` for `run_confined`; the one argument is the path."""
    return check_model(Path(arguments[0]))


def check_model(path: Path) -> dict[str, Any]:
    """The configuration of a whole model, as `read_config`.

    Args:
        path: `model.keras` or `model.h5` as `training.foreign.sources` copies them.

    Raises:
        UserError: it has weights only, or anything that is neither a class of Keras nor an array in this file.
    """
    try:
        if path.suffix != ".keras":
            with h5py.File(path, "r") as file:
                check_hdf5(file, path.stat().st_size)
                return read_config(model_config(file))
        with zipfile.ZipFile(path) as opened:
            config = read_config(opened.read("config.json"))
            with opened.open("model.weights.h5") as weights:
                check_weights(weights, opened.getinfo("model.weights.h5").file_size)
            return config
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(f"The model is damaged ({error}). Save it again.") from error


def write_config(path: Path, config: dict[str, Any]) -> None:
    """Replace the configuration in a copy of an `.h5` file by the one that was accepted.

    In `.keras` files `training.foreign.sources` has done so.
    """
    if path.suffix != ".keras":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(config)


def check_weights(weights: IO[bytes], size: int) -> None:
    with h5py.File(weights, "r") as file:
        check_hdf5(file, size)


def model_config(file: h5py.File) -> str | bytes:
    """
    Raises:
        UserError: the file has weights only.
    """
    text = file.attrs.get("model_config")
    if text is None:
        raise UserError(
            "The file has weights and no network. For a network that Striate has: striate import-weights "
            "NETWORK --file FILE. Otherwise build the network with the code that trained it, load the weights into it, "
            "and save all of it with model.save('model.keras')."
        )
    if not isinstance(text, str | bytes):
        raise ValueError("its attribute model_config is no text")
    return text


def check_hdf5(file: h5py.File, size: int) -> None:
    """Every array of the file has numbers, which lie in the file itself.

    Args:
        size: of the file in bytes.

    Raises:
        UserError: there is a link, an array in another file, or one of Python objects; or the arrays are far larger
            than the file.
    """
    bytes_of_arrays = 0
    for number, (name, found) in enumerate(objects_in(file)):
        if number > MOST_OBJECTS:
            raise UserError(f"The model's file has more than {MOST_OBJECTS:,} arrays and groups, which no network has.")
        if isinstance(found, h5py.Group):
            continue
        if not isinstance(found, h5py.Dataset) or found.dtype.kind not in NUMBERS:
            raise UserError(f"The model's file has {name!r}, which is no array of numbers. Save the model again.")
        if found.external or found.is_virtual:
            raise UserError(f"The numbers of {name!r} lie in another file. Save the model again, into one file.")
        bytes_of_arrays += found.nbytes
        if bytes_of_arrays > LARGEST_RATIO * size:
            raise UserError(
                f"The model's arrays would take {bytes_of_arrays:,} bytes or more, and their file has {size:,}: up to "
                f"{name!r} most of the numbers are not in it. Save the model again."
            )


def objects_in(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Every object below the root, with its path.

    Raises:
        UserError: there is a link to another place, or a group that contains itself.
    """
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    seen = {address(file)}
    while waiting:
        above, group = waiting.pop()
        for key in group:
            name = f"{above}/{key}"[:200]
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise UserError(f"The model's file has {name!r}, which is a link to another place. Save it again.")
            found = group[key]
            yield name, found
            if isinstance(found, h5py.Group):
                if address(found) in seen:
                    raise UserError(f"The group {name!r} of the model's file is there twice. Save the model again.")
                seen.add(address(found))
                waiting.append((name, found))


def address(found: h5py.Group) -> Any:
    return h5py.h5o.get_info(found.id).addr
