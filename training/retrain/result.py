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
    """What became of a job; the line of JSON that it prints.

    Attributes:
        version: that was published; None where none was.
        champion: the version that was live when the job began.
        findings: of the gate.
        rollout: what was seen, step by step.
        new_images: feedback that the champion did not know.
        set_aside: of those, how many no later job trains on.
    """

    outcome: Ending
    model: str
    reason: str
    version: int | None = None
    champion: int | None = None
    run: str | None = None
    findings: list[Finding] = field(default_factory=list)
    rollout: list[str] = field(default_factory=list)
    new_images: int = 0
    set_aside: int = 0

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
