"""Publishing a bundle once, however often the command that does so is killed and given again."""

import contextlib
import json
from pathlib import Path
from typing import TypedDict

from models.bundle import BrokenBundle, read_manifest, verify
from models.exports import HISTORY, list_versions, publish, read_live, set_live
from models.typed import typed


def publish_once(bundle: Path, exports: Path, *, make_live: bool = True) -> int:
    """Publish a bundle as `models.exports.publish` does, or go on with what a killed command had begun of that.

    A version that was live before stays as it is: whoever made another one live meanwhile meant it.

    Raises:
        BrokenBundle: it does not verify; nothing was published.
    """
    model = read_manifest(bundle).model
    version = version_of(bundle, exports / model)
    if version is None:
        return publish(bundle, exports, make_live=make_live)
    if make_live and version not in ever_live(exports / model):
        set_live(exports, model, version)
    return version


def version_of(bundle: Path, home: Path) -> int | None:
    """The number under which a bundle is published in `exports/<model>`; None where it is not.

    The bundle may be one of the versions itself. The same one published twice has the first number.
    """
    versions = list_versions(home)
    if bundle.resolve().parent == home.resolve():
        versions = [version for version in versions if str(version) == bundle.resolve().name]
    ours = read_manifest(bundle)
    for version in versions:
        with contextlib.suppress(BrokenBundle):
            if read_manifest(home / str(version)) == ours:
                verify(home / str(version))
                return version
    return None


class Pointed(TypedDict):
    """What is read of a line of the history."""

    live: int | None
    previous: int | None


def ever_live(home: Path) -> set[int | None]:
    """The versions that are live or were, as far as the history says; lines of it that are damaged are passed over."""
    history, found = home / HISTORY, {read_live(home).live}
    for line in history.read_text(encoding="utf-8", errors="replace").splitlines() if history.exists() else []:
        with contextlib.suppress(ValueError):
            pointer = typed(json.loads(line), Pointed)
            found |= {pointer["live"], pointer["previous"]}
    return found
