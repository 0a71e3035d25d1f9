"""Publishing a bundle once, however often the command that does so is killed and given again."""

import contextlib
import json
from pathlib import Path
from typing import TypedDict

from models.bundle.manifest import read_manifest
from models.files.typed import typed
from models.store.history import version_of
from models.store.live import HISTORY, read_live, set_live
from models.store.publish import publish


def publish_once(bundle: Path, exports: Path, *, make_live: bool = True) -> int:
    """Publish a bundle as `models.store.publish.publish` does, or go on with what a killed command had begun of that.

    A version that has been live before is not made live again: another one was made live on purpose.

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
