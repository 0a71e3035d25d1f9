"""JOB.toml: what a retraining job does, read once into one frozen object. docs/retraining.md has every field.

    model = "pets"                 # its name in the exports
    data = "photos"                # the folder, or named data set, it is trained on
    feedback = ["feedback/pets/labelled"]
    start = "live"                 # or "scratch"
    service = "http://127.0.0.1:8000"   # the service that has the model, for drift and for roll-outs

    [training]                     # flags of `fit`, without their dashes
    [gate]                         # training.promotion.gate.Gate
    [rollout]                      # training.promotion.rollout.Rollout
    [needed]                       # Needed: when `--if-needed` trains

Paths are relative to the file.
"""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from models.errors import UserError
from models.files.folders import expanded
from models.files.typed import fits
from models.store.layout import check_model_name
from training.data.named_sets import DATA_SETS
from training.promotion.gate import Gate
from training.promotion.rollout import Rollout


class BadJob(UserError):
    """A job that cannot be done as it is written; says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Needed:
    """When `--if-needed` trains: as soon as one of these is so. 0 leaves one out."""

    new_labels: int = 100  # that have come since the last decision
    drift: float = 0.25  # population stability index of any statistic, as the service measures it
    days: float = 0.0  # since the last decision

    def __post_init__(self) -> None:
        if min(self.new_labels, self.drift, self.days) < 0:
            raise UserError("new_labels, drift and days are 0 or more.")


@dataclass(frozen=True, slots=True)
class Job:
    model: str
    data: str
    feedback: tuple[Path, ...]  # folders of labelled images beside the base data
    exports: Path
    runs: Path
    cache: Path
    start: Literal["live", "scratch"] = "live"
    service: str = ""  # its URL; "" where there is none to ask. The key comes from STRIATE_SERVICE_KEY
    textfile: Path | None = None  # where metrics for Prometheus's node exporter are written; None: nowhere
    training: dict[str, Any] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    rollout: Rollout = field(default_factory=Rollout)
    needed: Needed = field(default_factory=Needed)

    @property
    def home(self) -> Path:
        """The model's folder in the exports."""
        return self.exports / self.model


TABLES = ("gate", "rollout", "needed")
TEXTS = ("model", "data", "start", "service", "textfile", "exports", "runs", "cache")


def read_job(path: Path) -> Job:
    """
    Raises:
        BadJob: the file is missing or no TOML, says something unknown, or a value is of another type.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadJob(f"There is no file {path}. Give a job's TOML file; docs/retraining.md says what it has.") from None
    except OSError as error:
        raise BadJob(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise BadJob(f"{path} is not TOML: {error}.") from None
    known = {*TEXTS, *TABLES, "feedback", "training"}
    if set(said) - known:
        raise BadJob(f"{path} says {min(set(said) - known)!r}; what it can say is {', '.join(sorted(known))}.")
    for name in ("model", "data"):
        if name not in said:
            raise BadJob(f"{path} does not say {name}.")
    for name in TEXTS:
        if not isinstance(said.get(name, ""), str):
            raise BadJob(f"{path} has {name} = {said[name]!r}, which is no text.")
    if said.get("start", "live") not in ("live", "scratch"):
        raise BadJob(f'{path} has start = {said["start"]!r}; it can be "live" or "scratch".')
    if not isinstance(said.get("training", {}), dict):
        raise BadJob(f"{path} has training = {said['training']!r}; it has to be a table of flags.")
    return job_of(path, said)


def job_of(path: Path, said: dict[str, Any]) -> Job:
    here = path.resolve().parent
    model = check_model_name(said["model"])
    feedback = said.get("feedback", [f"feedback/{model}/labelled"])
    if not isinstance(feedback, list) or not all(isinstance(folder, str) for folder in feedback):
        raise BadJob(f"{path} has feedback = {feedback!r}; it has to be a list of folders.")
    data, rollout = said["data"], table_of(path, "rollout", Rollout, said)
    if rollout.is_watched and not said.get("service"):
        raise BadJob(f'{path} has a [rollout] to be watched, and does not say service = "http://...".')

    def folder_of(name: str, default: str) -> Path:
        return here / expanded(said.get(name, default))

    return Job(
        model=model,
        data=data if data in DATA_SETS else str(here / expanded(data)),
        feedback=tuple(here / expanded(folder) for folder in feedback),
        exports=folder_of("exports", "exports"),
        runs=folder_of("runs", "runs"),
        cache=folder_of("cache", ".cache"),
        start=said.get("start", "live"),
        service=said.get("service", "").rstrip("/"),
        textfile=here / said["textfile"] if said.get("textfile") else None,
        training=said.get("training", {}),
        gate=table_of(path, "gate", Gate, said),
        rollout=rollout,
        needed=table_of(path, "needed", Needed, said),
    )


def table_of(path: Path, name: str, kind: Any, document: dict[str, Any]) -> Any:
    """One of the tables as its dataclass."""
    said = document.get(name, {})
    kinds = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    if not isinstance(said, dict) or set(said) - set(known):
        odd = min(set(said) - set(known)) if isinstance(said, dict) else said
        raise BadJob(f"{path} says {odd!r} in [{name}]; what it can say there is {', '.join(known)}.")
    wrong = [key for key, value in said.items() if not fits(value, kinds[key])]
    if wrong:
        raise BadJob(f"{path} has {wrong[0]} = {said[wrong[0]]!r} in [{name}], which is not of its type.")
    try:
        return kind(**said)
    except UserError as error:
        raise BadJob(f"{path}, [{name}]: {error}") from None
