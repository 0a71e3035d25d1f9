"""The inputs recorded at the start of a job, so that a restarted command continues the same job.

A job that fails because of its inputs is not resumed forever: see `Unfinished.fail`.

exports/<model>/retrain/
    unfinished.json     `{"champion": 3, "until_ns": ..., "job": ..., "run": ...}`; as long as the job is not done
    feedback/           the feedback it takes in, <folder>/<class>/<image>: hard links, so that images which are
                        labelled otherwise meanwhile, or moved away, are still there
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from models.files.durable import write_durably
from models.files.folders import files_below, subfolders
from models.files.typed import read_json, typed
from models.store.live import read_live
from training.promotion.traffic import Unreachable
from training.retrain.job import BadJob, Job

FILE, FEEDBACK, STAGING = "unfinished.json", "feedback", ".feedback-"


class UnfinishedState(TypedDict):
    champion: int | None
    until_ns: int
    job: str
    run: NotRequired[str]
    fault: NotRequired[str]


class Unfinished:
    """Attributes:
        champion: the version that was live when the job began; None where none was.
        until_ns: when the newest image of its feedback was written, in nanoseconds since 1970; 0 of none.
        run: the name of its run; None until there is one.
        fault: why its version was, or is to be, taken back.

    Raises:
        BadJob: the file says something else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: dict[str, Any] = {}
        if self.exists:
            try:
                self._said = typed(read_json(folder / FILE, dict[str, Any]), UnfinishedState)
            except ValueError as error:
                raise BadJob(
                    f"{folder / FILE} does not say what the job that was cut off had found ({error}). Delete it, and "
                    "the next job begins anew."
                ) from error

    @property
    def exists(self) -> bool:
        return (self._folder / FILE).exists()

    @property
    def feedback(self) -> Path:
        """The folder of images."""
        return self._folder / FEEDBACK

    @property
    def champion(self) -> int | None:
        return self._said["champion"]

    @property
    def until_ns(self) -> int:
        found: int = self._said["until_ns"]
        return found

    @property
    def run(self) -> str | None:
        return self._said.get("run")

    @property
    def fault(self) -> str | None:
        return self._said.get("fault")

    def is_of(self, job: Job) -> bool:
        """Whether this job was cut off."""
        return self.exists and self._said.get("job") == identity(job)

    def begin(self, job: Job, on_step: Callable[[str], None]) -> None:
        """Record the live version and link the current feedback, unless this job is resumed. State of another job is
        deleted.
        """
        if self.is_of(job):
            return
        (self._folder / FILE).unlink(missing_ok=True)  # before the feedback it speaks of: a kill may come between
        shutil.rmtree(self.feedback, ignore_errors=True)
        for leftover in self._folder.glob(f"{STAGING}*"):
            shutil.rmtree(leftover)
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=self._folder))
        newest = max(link_all(job.feedback, staging), default=0)
        staging.rename(self.feedback)
        self._said = {"champion": read_live(job.home).live, "until_ns": newest, "job": identity(job)}
        self._write()
        on_step("looked")

    def source_of(self, job: Job, path: Path) -> Path:
        """Where an image of `feedback` came from."""
        label, root, *rest = path.relative_to(self.feedback).parts
        return job.feedback[int(root)].joinpath(label, *rest)

    def note_run(self, name: str) -> None:
        self._said["run"] = name
        self._write()

    def note_fault(self, fault: str) -> None:
        self._said["fault"] = fault
        self._write()

    def fail(self, error: Exception) -> None:
        """Decide whether the same command goes on with this job after a fault, or looks at what there is by then.

        If no run has begun, the job starts over: no work is lost, and new feedback may remove the error. With a run it
        always resumes after a machine error or a kill. After any other error it resumes once; a second one is probably
        caused by the recorded inputs.
        """
        if self.run is not None and is_of_the_machine(error):
            return
        if self.run is None or self._said.get("failed"):
            self.end()
        else:
            self._said["failed"] = True
            self._write()

    def end(self) -> None:
        (self._folder / FILE).unlink(missing_ok=True)
        shutil.rmtree(self.feedback, ignore_errors=True)

    def _write(self) -> None:
        write_durably(self._folder / FILE, json.dumps(self._said, indent=2) + "\n")


def identity(job: Job) -> str:
    """Hash of a job's data, feedback folders, start and training settings; jobs with different hashes are different
    jobs.
    """
    said = [job.data, [str(folder) for folder in job.feedback], job.start, job.training]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def is_of_the_machine(error: Exception) -> bool:
    """Whether the machine caused an error: a full disk, too little memory, an unreachable watched service.

    Connection errors do not count, because an image may break the connection to the trial service.
    """
    of_a_connection = isinstance(error, ConnectionError | TimeoutError)
    return isinstance(error, OSError | MemoryError | Unreachable) and not of_a_connection


def link_all(roots: tuple[Path, ...], target: Path) -> Iterator[int]:
    """Have every image of some folders in one, by class; yields when each was written, in nanoseconds since 1970."""
    for i, root in enumerate(roots):
        for folder in subfolders(root) if root.is_dir() else []:
            for name in files_below(folder, root):
                copy = target / folder.name / str(i) / Path(name).relative_to(folder.name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                try:
                    link(root / name, copy)
                    yield copy.stat().st_mtime_ns
                except FileNotFoundError:  # it was given another label just now
                    continue


def link(source: Path, target: Path) -> None:
    """A hard link; a copy, with its time, where that is another file system."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
        written = source.stat().st_mtime_ns
        os.utime(target, ns=(written, written))
