"""routes.json: what the supervisor tells the HTTP workers, readable with `cat`, replaced by rename."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.bundle.manifest import Task
from models.bundle.preprocessing import InputSpec
from models.bundle.reference import Reference
from models.files.durable import write_durably
from models.files.typed import read_json

State = Literal["loading", "available", "restarting", "parked", "rejected", "idle"]
Label = Literal["live", "previous", "canary", "shadow"]


@dataclass(frozen=True, slots=True)
class VersionRoute:
    """One version of a model."""

    state: State
    endpoints: tuple[str, ...] = ()  # paths of the sockets of its engines that answer
    reason: str | None = None  # why it was rejected or parked, or which files it waits for; None where nothing is wrong
    class_names: tuple[str, ...] = ()
    input_spec: InputSpec | None = None
    # what the manifest and the engine say of it, for people and for the page
    description: dict[str, Any] = field(default_factory=dict)
    unusual_above: float | None = None  # as in the manifest
    reference: Reference | None = None  # what it met when it was judged, to compare with
    restarts: int = 0  # engines of this version that died after they had answered
    task: Task = "single_label"
    threshold: float = 0.5  # of multi_label: labels that are at least so probable are the answer
    leaving: tuple[str, ...] = ()  # as `endpoints`, of engines that finish what they have and get nothing new


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """A model: the version that answers unless another is named, and all that are known."""

    live: int | None  # None until one has loaded
    versions: dict[int, VersionRoute]  # by number
    # which versions have a part: `live` is the one above, the others are as the live pointer says
    labels: dict[Label, int] = field(default_factory=dict)
    canary_fraction: float = 0.0  # of the requests that name no version, the canary's share
    unloaded: bool = False  # somebody asked that it have no engines
    number: int = 0  # of this model, in the order in which the models were found


@dataclass(frozen=True, slots=True)
class Routes:
    default_model: str | None = None
    models: dict[str, ModelRoute] = field(default_factory=dict)
    draining: bool = False


def write_routes(path: Path, routes: Routes) -> None:
    write_durably(path, json.dumps(asdict(routes), indent=1) + "\n")  # a reason may name a file that is not UTF-8


def read_routes(path: Path) -> Routes:
    return read_json(path, Routes)


ModelVersion = tuple[str, int]  # model name, version
