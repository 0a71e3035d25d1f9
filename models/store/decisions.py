"""What retraining jobs decided about a model, and why; kept beside its versions.

exports/<model>/decisions.jsonl       one line a decision, oldest first; lines are only ever added
exports/<model>/set-aside/<run>.txt   images of a rejected run, that no job trains on: a line "<sha256> <path>" each.
                                      Delete the file, or lines of it, to take them back in.
exports/<model>/set-aside/suspected.npy   all that ever were: taken back, they are judged as if they were new
"""

import json
import re
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from models.errors import UserError
from models.files.durable import array_bytes
from models.files.locks import locked
from models.files.typed import typed
from models.store.layout import LOCK
from models.store.origin import rewrite, with_line

DIGEST = re.compile(r"[0-9a-f]{64}")
DECISIONS, SET_ASIDE, SUSPECTED = "decisions.jsonl", "set-aside", "suspected.npy"


class Finding(TypedDict):
    """What one rule came to."""

    rule: str
    outcome: str
    reason: str


class Seen(TypedDict, total=False):
    """What a decision was made on."""

    feedback_until_ns: int


class Decision(TypedDict):
    """What readers need of a line; there is more in it."""

    at: str
    outcome: str
    reason: str
    champion: int | None
    findings: list[Finding]
    version: NotRequired[int | None]
    run: NotRequired[str | None]
    key: NotRequired[str]
    data: NotRequired[Seen]


def record_decision(home: Path, decision: dict[str, Any]) -> None:
    """Add a line, durably."""
    line = json.dumps(decision, ensure_ascii=False)
    with locked(home / LOCK):
        rewrite(home.parent, f"{home.name}/{DECISIONS}", lambda: with_line(home / DECISIONS, line))


def read_decisions(home: Path) -> list[dict[str, Any]]:
    """Oldest first; lines that are none are passed over."""
    try:
        lines = (home / DECISIONS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [decision for line in lines if (decision := parsed(line)) is not None]


def parsed(line: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(line)
        typed(found, Decision)
    except (ValueError, RecursionError):
        return None
    return found


def decision_on(home: Path, version: int) -> dict[str, Any] | None:
    """The newest that concerns a version."""
    about = [decision for decision in read_decisions(home) if decision.get("version") == version]
    return about[-1] if about else None


def set_aside(home: Path, run: str, images: list[tuple[str, str]]) -> Path:
    """Exclude images, (sha256, path), from training until somebody has checked them; returns the list's path."""
    digests = np.array([int(digest[:16], 16) for digest, _ in images], np.uint64)
    lines = "".join(f"{digest} {name}\n" for digest, name in images)
    with locked(home / LOCK):
        rewrite(
            home.parent,
            f"{home.name}/{SET_ASIDE}/{SUSPECTED}",
            lambda: array_bytes(np.union1d(read_suspected(home), digests)),
        )
        listed = lines.encode("utf-8", "backslashreplace")  # names may be no Unicode
        rewrite(home.parent, f"{home.name}/{SET_ASIDE}/{run}.txt", lambda: listed)
    return home / SET_ASIDE / f"{run}.txt"


def read_suspected(home: Path) -> np.ndarray:
    """uint64 (N,): of images that were ever set aside, taken back or not."""
    path = home / SET_ASIDE / SUSPECTED
    try:
        known: np.ndarray = np.load(path) if path.exists() else np.empty(0, np.uint64)
    except (ValueError, EOFError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it: {SET_ASIDE}/*.txt says what is set aside now."
        ) from None
    return known


def read_set_aside(home: Path, *, but: str | None = None) -> np.ndarray:
    """uint64 (N,): the beginnings of their hashes; lines that begin with none are passed over.

    Args:
        but: a run whose images are not meant.
    """
    files = (path for path in sorted((home / SET_ASIDE).glob("[!.]*.txt")) if path.stem != but)
    lines = (line for path in files for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    digests = (line.split(" ", 1)[0] for line in lines)
    return np.array([int(digest[:16], 16) for digest in digests if DIGEST.fullmatch(digest)], np.uint64)
