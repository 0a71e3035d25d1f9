"""routes.json: what the supervisor tells the HTTP workers, readable with `cat`, replaced by rename."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.bundle.preprocessing import InputSpec
from models.bundle.reference import Reference
from models.files.durable import write_durably
from models.files.typed import read_json

State = Literal["loading", "available", "restarting", "parked", "rejected"]
Label = Literal["live", "previous", "canary", "shadow"]


@dataclass(frozen=True, slots=True)
class VersionRoute:
    """One version of a model.

    Attributes:
        endpoint: ZeroMQ address of its engine; None while there is none.
        reason: why it was rejected or parked, or which files it waits for; None where nothing is wrong.
        description: what the manifest and the engine say of it, for people and for the page.
        reference: what it met when it was judged, to compare with.
        restarts: engines of this version that died after they had answered.
    """

    state: State
    endpoint: str | None = None
    reason: str | None = None
    class_names: tuple[str, ...] = ()
    input_spec: InputSpec | None = None
    description: dict[str, Any] = field(default_factory=dict)
    reference: Reference | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """A model: the version that answers unless another is named, and all that are known.

    Attributes:
        live: None until one has loaded.
        versions: by number.
        labels: which versions have a part: `live` is the one above, the others are as the live pointer says.
        canary_fraction: of the requests that name no version, the canary's share.
        unloaded: somebody asked that it have no engines.
    """

    live: int | None
    versions: dict[int, VersionRoute]
    labels: dict[Label, int] = field(default_factory=dict)
    canary_fraction: float = 0.0
    unloaded: bool = False


@dataclass(frozen=True, slots=True)
class Routes:
    default_model: str | None = None
    models: dict[str, ModelRoute] = field(default_factory=dict)
    draining: bool = False


def write_routes(path: Path, routes: Routes) -> None:
    write_durably(path, json.dumps(asdict(routes), indent=1, ensure_ascii=False) + "\n")


def read_routes(path: Path) -> Routes:
    return read_json(path, Routes)


ModelVersion = tuple[str, int]  # model name, version
