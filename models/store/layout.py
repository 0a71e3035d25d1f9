"""Where models and versions lie in the exports folder: `exports/<model>/<version>`."""

import re
from pathlib import Path

from models.bundle.manifest import BrokenBundle, verify
from models.errors import UserError
from models.store.origin import check_uploaded, origin_of

LOCK = ".lock"
PRUNED = "pruned"  # folder of what is kept of deleted versions (models.store.prune)
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def check_model_name(name: str) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise UserError(
            f"No model can be called {name!r}: use 1 to 64 of a-z, 0-9, - and _, starting with a letter or digit."
        )
    return name


def find_version(exports: Path, model: str, version: int) -> Path:
    """The model's folder, if it has this version and that is sound.

    Of a mirror the files of the version need not be there: the origin has to have all of them.

    Raises:
        BrokenBundle: it is missing or does not verify.
        StoreAway: the origin does not answer.
    """
    home = existing(exports / check_model_name(model))
    if origin_of(exports) is not None:
        check_uploaded(exports, model, version)
        return home
    if version not in list_versions(home):
        known = ", ".join(map(str, list_versions(home))) or "none"
        raise BrokenBundle(f"{home} has no version {version}; it has {known}.")
    verify(home / str(version))
    return home


def existing(home: Path) -> Path:
    """
    Raises:
        BrokenBundle: there is no such model.
    """
    if not home.is_dir():
        known = ", ".join(list_models(home.parent)) or "none"
        raise BrokenBundle(f"{home.parent} has no model {home.name}; it has {known}.")
    return home


def list_models(exports: Path) -> list[str]:
    """Names of the models that have a directory in `exports`, sorted; [] where there is no such directory."""
    if not exports.is_dir():
        return []
    return sorted(path.name for path in exports.iterdir() if MODEL_NAME.fullmatch(path.name) and path.is_dir())


def published_models(exports: Path) -> list[str]:
    """Names of the models that have a version, sorted."""
    return [name for name in list_models(exports) if list_versions(exports / name)]


def list_versions(home: Path) -> list[int]:
    """Numbers of the versions in `exports/<model>`, ascending; whether they are sound is for `verify` to say."""
    names = [path.name for path in home.iterdir() if path.is_dir()] if home.is_dir() else []
    return sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,17}", name))


def record_of(home: Path, version: int) -> Path:
    """The folder of a version, or of what was kept of it when it was pruned."""
    bundle = home / str(version)
    return bundle if bundle.is_dir() else home / PRUNED / str(version)
