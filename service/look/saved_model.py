"""A directory in the layout of TensorFlow Serving, read and checked without executing any of it.

PATH/saved_model.pb variables/ assets/      one model, or
PATH/1/ PATH/2/ ...                         its versions, of which the highest is taken
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from models.bundle.graph import SAVED_MODEL, Graph, Signature, Tensor, read_graphs
from models.bundle.operations import check_operations
from models.errors import UserError
from models.store.layout import MODEL_NAME
from service.look.kinds import KINDS

SIGNATURE = "serving_default"
SERVED = ("serve",)  # the tags of the graph that TensorFlow Serving serves
VERSION = re.compile("[0-9]{1,18}")
OF_TENSORFLOW = "__saved_model"  # how the names of signatures begin that are for TensorFlow alone


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A SavedModel and what its signature `serving_default` takes and returns.

    Attributes:
        folder: that has saved_model.pb.
        path: as the user gave it.
        name: in addresses, made of the folder's name.
        version: the number that the folder has for a name; else 1.
    """

    folder: Path
    path: Path
    name: str
    version: int
    signature: Signature

    @property
    def inputs(self) -> dict[str, Tensor]:
        return self.signature.inputs

    @property
    def outputs(self) -> dict[str, Tensor]:
        return self.signature.outputs

    @property
    def command(self) -> str:
        """That makes a model of it which takes images and answers with labels."""
        return f"striate import {shlex.quote(str(self.path))} --name {self.name}"

    @property
    def how_to_import(self) -> str:
        return (
            "This model is served for a look, with tensors in and out: it takes no images and has no labels. "
            f"`{self.command}` makes a model of it that does."
        )


def read_saved_model(path: Path) -> SavedModel:
    """
    Raises:
        UserError: there is none, or it has no signature that can be asked.
        BrokenBundle: it has an operation that is not allowed, or cannot be read.
    """
    folder = find_folder(path)
    check_operations(folder)
    signature = find_signature(folder, read_graphs(folder))
    place = folder.resolve()
    is_version = VERSION.fullmatch(place.name) is not None
    name = url_name(place.parent.name if is_version else place.name)
    return SavedModel(folder, path, name, int(place.name) if is_version else 1, signature)


def find_folder(path: Path) -> Path:
    """The folder with saved_model.pb: `path` itself, or the highest of its versions."""
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UserError(
            f"{path} {what}; --model takes the folder of a SavedModel. Files such as .keras and .h5, and archives, "
            f"are imported: striate import {shlex.quote(str(path))} --name NAME."
        )
    if (path / SAVED_MODEL).exists():
        return path
    versions = [found for found in path.iterdir() if VERSION.fullmatch(found.name) and found.is_dir()]
    if not versions:
        raise UserError(f"{path} has no {SAVED_MODEL} and no numbered folder of a version; --model takes one of these.")
    return max(versions, key=lambda found: int(found.name))


def find_signature(folder: Path, graphs: tuple[Graph, ...]) -> Signature:
    served = [graph for graph in graphs if graph.tags == SERVED]
    if len(served) != 1:
        tags = "; ".join(", ".join(graph.tags) or "none" for graph in graphs)
        raise UserError(f"{folder} has no graph with the one tag 'serve'; the tags of its graphs are: {tags}.")
    signatures = served[0].signatures
    if SIGNATURE not in signatures:
        known = ", ".join(name for name in signatures if not name.startswith(OF_TENSORFLOW)) or "none"
        raise UserError(f"{folder} has no signature {SIGNATURE}, which --model serves; it has {known}.")
    signature = signatures[SIGNATURE]
    for name, tensor in (*signature.inputs.items(), *signature.outputs.items()):
        if not tensor.name or tensor.dtype not in KINDS:
            kinds = ", ".join(kind.serving for kind in KINDS.values())
            raise UserError(
                f"{name} of the signature {SIGNATURE} of {folder} is sparse or of a type that --model does not "
                f"serve (number {tensor.dtype}); it serves dense tensors of {kinds}."
            )
    if not signature.inputs or not signature.outputs:
        raise UserError(f"The signature {SIGNATURE} of {folder} has no inputs or no outputs.")
    return signature


def url_name(name: str) -> str:
    """The name that a model can have which is most like that of a folder."""
    like = re.sub("[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:64]
    return like if MODEL_NAME.fullmatch(like) else "model"
