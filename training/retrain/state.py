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
from dataclasses import asdict, dataclass
from pathlib import Path

from models.files.durable import write_durably
from models.files.folders import files_below, subfolders
from models.files.typed import read_json
from models.store.live import read_live
from training.promotion.traffic import Unreachable
from training.retrain.job import BadJob, Job
from training.sources.labels import BY_FOLDERS

FILE, FEEDBACK, STAGING = "unfinished.json", "feedback", ".feedback-"


@dataclass(slots=True)
class UnfinishedState:
    champion: int | None  # the version that was live when the job began
    until_ns: int  # when the newest image of its feedback was written, in nanoseconds since 1970; 0: it has none
    job: str  # `identity` of the job; "" where none is unfinished
    run: str | None = None  # name of its run, once there is one
    fault: str | None = None  # why its version was, or is to be, taken back
    failed: bool = False  # it failed once, through no fault of the machine


class Unfinished:
    """The job that is under way, if there is one; `said` is what its file says.

    Raises:
        BadJob: the file says something else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.said = UnfinishedState(None, 0, "")
        try:
            self.said = read_json(folder / FILE, UnfinishedState)
        except FileNotFoundError:
            pass
        except ValueError as error:
            raise BadJob(
                f"{folder / FILE} does not say what the job that was cut off had found ({error}). Delete it, and "
                "the next job begins anew."
            ) from error

    @property
    def feedback(self) -> Path:
        """The folder of images."""
        return self._folder / FEEDBACK

    def is_of(self, job: Job) -> bool:
        """Whether this job was cut off."""
        return self.said.job == identity(job)

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
        self.said = UnfinishedState(read_live(job.home).live, newest, identity(job))
        self._write()
        on_step("looked")

    def source_of(self, job: Job, path: Path) -> Path:
        """Where an image of `feedback` came from."""
        label, root, *rest = path.relative_to(self.feedback).parts
        return job.feedback[int(root)].joinpath(label, *rest)

    def note_run(self, name: str) -> None:
        self.said.run = name
        self._write()

    def note_fault(self, fault: str) -> None:
        self.said.fault = fault
        self._write()

    def fail(self, error: Exception) -> None:
        """Decide whether the same command goes on with this job after a fault, or looks at what there is by then.

        If no run has begun, the job starts over: no work is lost, and new feedback may remove the error. With a run it
        always resumes after a machine error or a kill. After any other error it resumes once; a second one is probably
        caused by the recorded inputs.
        """
        if self.said.run is not None and is_of_the_machine(error):
            return
        if self.said.run is None or self.said.failed:
            self.end()
        else:
            self.said.failed = True
            self._write()

    def end(self) -> None:
        (self._folder / FILE).unlink(missing_ok=True)
        shutil.rmtree(self.feedback, ignore_errors=True)

    def _write(self) -> None:
        write_durably(self._folder / FILE, json.dumps(asdict(self.said), indent=2) + "\n")


def identity(job: Job) -> str:
    """Hash of a job's data, labels, feedback folders, start and training settings; jobs with different hashes are
    different jobs.
    """
    said = [job.data, [str(folder) for folder in job.feedback], job.start, job.training]
    if job.labels != BY_FOLDERS:
        said.append(repr(job.labels))
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
