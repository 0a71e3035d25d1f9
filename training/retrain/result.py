"""What became of a retraining job, and the verdict that it came to before."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.files.typed import read_json
from training.promotion.gate import Finding, Verdict
from training.retrain.job import BadJob

Ending = Literal["promoted", "held", "rejected", "rolled back", "skipped", "not needed", "busy"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a job; the line of JSON that it prints."""

    outcome: Ending
    model: str
    reason: str
    version: int | None = None  # that was published; None where none was
    champion: int | None = None  # the version that was live when the job began
    run: str | None = None
    findings: list[Finding] = field(default_factory=list)  # of the gate
    rollout: list[str] = field(default_factory=list)  # what was seen, step by step
    new_images: int = 0  # feedback that the champion did not know
    set_aside: int = 0  # of those, how many no later job trains on

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Judged:
    """What verdict.json says."""

    verdict: Verdict
    findings: list[Finding]


def read_verdict(path: Path) -> tuple[Verdict, list[Finding]]:
    """
    Raises:
        BadJob: the file says something else.
    """
    try:
        found = read_json(path, Judged)
    except ValueError as error:
        raise BadJob(f"{path} is no verdict ({error}). Delete it, and the job asks both models again.") from error
    return found.verdict, found.findings
