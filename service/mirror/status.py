"""What the mirroring process says of the store, for /metrics: a file in the private directory."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from models.files.durable import write_durably
from models.files.typed import read_json

FILE = "store.json"


@dataclass(frozen=True, slots=True)
class Status:
    read_at: float = 0.0  # when the store was last read without a fault, in seconds of the epoch; 0: not yet


def write_status(runtime: Path, status: Status) -> None:
    write_durably(runtime / FILE, json.dumps(asdict(status)) + "\n")


def read_status(runtime: Path) -> Status | None:
    """None where the exports are a folder, and nothing is mirrored."""
    try:
        return read_json(runtime / FILE, Status)
    except FileNotFoundError:
        return None
