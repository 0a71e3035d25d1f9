"""The default model, which answers requests that name none: `exports/default.json` says `{"model": "digits"}`.

It is written by the first publication and by `striate default`, and only read by a service.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from models.bundle.manifest import BrokenBundle
from models.files.typed import read_json
from models.store.origin import rewrite

DEFAULT = "default.json"


@dataclass(frozen=True, slots=True)
class Default:
    model: str


def write_default(exports: Path, model: str) -> None:
    rewrite(exports, DEFAULT, lambda: (json.dumps(asdict(Default(model))) + "\n").encode())


def read_default(exports: Path) -> str | None:
    """The model that default.json names, whether it is there or not; None without such a file.

    Raises:
        BrokenBundle: there is a file that names none.
    """
    try:
        return read_json(exports / DEFAULT, Default).model
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BrokenBundle(
            f"{exports / DEFAULT} names no model ({error}); striate default MODEL writes it anew."
        ) from error
