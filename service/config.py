"""What an operator can set: SERVICE_PORT=8000, and so on; read once, at the start."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from models.preprocessing import MAX_PIXELS

PREFIX = "SERVICE_"
Engine = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["auto", "float32", "bfloat16"]


class BadSetting(ValueError):
    """A variable that is unknown, or whose value is not accepted; says which are."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of the service; the variable of each is its name in capitals after SERVICE_."""

    exports: Path = Path("exports")  # where bundles are published
    host: str = "127.0.0.1"  # address to listen on; there is no authentication yet, so not everybody's
    port: int = 8000
    default_model: str = ""  # what /classify asks; empty: the only model there is
    engine: Engine = "auto"  # tensorflow where there is a GPU, else openvino
    precision: Precision = "auto"  # bfloat16 where the processor computes in it and the golden images agree
    workers: int = 0  # HTTP processes; 0: one per core
    decode_threads: int = 0  # in each HTTP process; 0: one per core
    max_batch_size: int = 32  # images
    queue_capacity: int = 256  # images waiting in all; beyond it we answer 503, not late
    deadline_s: float = 10.0  # an answer later than this is not worth computing
    max_body_bytes: int = 16_000_000
    max_images: int = 64  # in one request
    max_pixels: int = MAX_PIXELS  # of one image, by its header
    read_timeout_s: float = 10.0  # for a request's head, and again for its body; idle connections too
    max_connections: int = 4000  # for each HTTP process
    poll_interval_s: float = 0.5  # how often exports/ is looked at
    load_timeout_s: float = 120.0  # a model that takes longer to load is taken for hung
    hang_timeout_s: float = 20.0  # an engine silent, or busy with one batch, for longer is killed
    drain_delay_s: float = 0.5  # between saying "not ready" and refusing connections; longer behind a balancer
    stop_timeout_s: float = 20.0  # for requests in flight after that
    log_level: str = "INFO"

    @property
    def address(self) -> str:
        """host:port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Config":
        """The settings that the environment names; defaults for the rest.

        Raises:
            BadSetting: a SERVICE_ variable is unknown or its value is not accepted.
        """
        known = {PREFIX + field.name.upper(): field for field in fields(cls)}
        given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
        unknown = sorted(given.keys() - known.keys())
        if unknown:
            raise BadSetting(f"No setting is called {unknown[0]}; there are {', '.join(known)}.")
        return cls(**{known[name].name: parse(name, known[name].type, value) for name, value in given.items()})


def check_address(config: Config) -> None:
    """
    Raises:
        BadSetting: nothing can listen at the host and port.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((config.host, config.port))
    except (OSError, OverflowError) as error:
        raise BadSetting(
            f"Nothing can listen at {config.address} ({error}). Stop what does already, "
            f"or set {PREFIX}HOST and {PREFIX}PORT."
        ) from None


def parse(name: str, kind: Any, value: str) -> Any:
    """A variable's text as the type of its setting."""
    choices = get_args(kind)
    if choices:
        if value not in choices:
            raise BadSetting(f"{name} is {value!r}; it can be {', '.join(choices)}.")
        return value
    try:
        parsed = kind(value)
    except ValueError:
        raise BadSetting(f"{name} is {value!r}; it has to be of type {kind.__name__}.") from None
    if kind in (int, float) and not 0 <= parsed < float("inf"):
        raise BadSetting(f"{name} is {value!r}; it has to be 0 or more.")
    return parsed
