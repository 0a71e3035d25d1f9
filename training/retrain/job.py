"""JOB.toml: what a retraining job does, read once into one frozen object. docs/reference/job.md has every field."""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from models.errors import UserError
from models.files.folders import expanded
from models.files.typed import finite, typed
from models.store.layout import check_model_name
from models.store.option import open_exports
from models.store.origin import is_address
from training.data.named_sets import DATA_SETS
from training.promotion.gate import Gate
from training.promotion.rollout import Rollout
from training.sources.labels import Labels


class BadJob(UserError):
    """A job that cannot be done as it is written; says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Needed:
    """When `--if-needed` trains: as soon as one of these is so. 0 leaves one out."""

    new_labels: Annotated[int, Meta(ge=0)] = 100  # that have come since the last decision
    drift: Annotated[float, Meta(ge=0)] = 0.25  # population stability index of any statistic that the service measures
    days: Annotated[float, Meta(ge=0)] = 0.0  # since the last decision


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
    labels: Labels = field(default_factory=Labels)  # a table of the base data's classes, and groups
    training: dict[str, Any] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    rollout: Rollout = field(default_factory=Rollout)
    needed: Needed = field(default_factory=Needed)

    @property
    def home(self) -> Path:
        """The model's folder in the exports."""
        return self.exports / self.model


FOLDERS = {"exports": "exports", "runs": "runs", "cache": ".cache"}


def read_job(path: Path) -> Job:
    """A job's file; paths in it are relative to its folder.

    Raises:
        BadJob: the file is missing or not TOML, has an unknown key, or a value is not accepted.
        UserError: no model can have this name.
    """
    here = path.resolve().parent

    def located(_: type, text: Any) -> Path:
        if not isinstance(text, str):
            raise ValueError("a path has to be text")
        if is_address(text):
            if text != said["exports"]:
                raise ValueError(f"only the exports may be in an object store, unlike {text}")
            return open_exports(text)
        return here / expanded(text)

    try:
        said = {**FOLDERS, **tomllib.loads(path.read_text(encoding="utf-8"), parse_float=finite)}
        said = {"feedback": [f"feedback/{said.get('model')}/labelled"], **said}
        job: Job = typed({key: value for key, value in said.items() if (key, value) != ("textfile", "")}, Job, located)
    except FileNotFoundError:
        raise BadJob(
            f"There is no file {path}. Give a job's TOML file; docs/reference/job.md has every field."
        ) from None
    except OSError as error:
        raise BadJob(f"{path} cannot be read: {error.strerror}.") from None
    except tomllib.TOMLDecodeError as error:
        raise BadJob(f"{path} is not TOML: {error}.") from None
    except ValueError as error:
        raise BadJob(f"{path}: {error}. docs/reference/job.md has every field.") from None
    check_model_name(job.model)
    if job.rollout.is_watched and not job.service:
        raise BadJob(f'{path} has a [rollout] to be watched, and does not say service = "http://...".')
    data = job.data if job.data in DATA_SETS else str(here / expanded(job.data))
    training, recipe = job.training, job.training.get("recipe")
    if isinstance(recipe, str) and recipe.endswith(".toml"):  # a file, and not the name of a recipe
        training = {**training, "recipe": str(here / expanded(recipe))}
    return replace(job, data=data, service=job.service.rstrip("/"), training=training)
