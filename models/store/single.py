"""One bundle, wherever it lies, as exports with one version; KServe's storage initializer puts a model so."""

import atexit
import shutil
import tempfile
from pathlib import Path

from models.bundle.manifest import MANIFEST, BrokenBundle, read_manifest
from models.store.layout import check_model_name, list_versions, published_models


def exports_of(path: Path, name: str | None = None) -> Path:
    """Exports that have what lies at `path`: a bundle, the folder of a model with its versions, or exports.

    Args:
        name: of the model; None: as its manifest says. Exports have names of their own.

    Raises:
        BrokenBundle: there is none of these, or its manifest cannot be read.
        UserError: no model can have this name.
    """
    if (path / MANIFEST).exists():
        home = new_exports() / check_model_name(name or read_manifest(path).model)
        home.mkdir()
        (home / "1").symlink_to(path.resolve(), target_is_directory=True)
        return home.parent
    if versions := list_versions(path):
        exports = new_exports()
        model = check_model_name(name or read_manifest(path / str(versions[-1])).model)
        (exports / model).symlink_to(path.resolve(), target_is_directory=True)
        return exports
    if published_models(path):
        return path
    found = ", ".join(sorted(inside.name for inside in path.iterdir())[:5]) if path.is_dir() else "no folder there"
    raise BrokenBundle(f"{path} is no bundle, no folder of versions and no exports: it has {found or 'nothing'}.")


def new_exports() -> Path:
    folder = tempfile.mkdtemp(prefix="striate-exports-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # of links their targets stay
    return Path(folder)
