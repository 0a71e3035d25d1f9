"""What an operator can set: SERVICE_PORT=8000, and so on; read once, at the start."""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from models.errors import UserError
from models.preprocessing import MAX_PIXELS

PREFIX = "SERVICE_"
SECRET = "********"
TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
Engine = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["auto", "float32", "float16", "bfloat16", "int8"]
LogFormat = Literal["json", "text"]


class BadSetting(UserError):
    """A variable that is unknown, or whose value is not accepted; says which are."""


def setting(default: Any, meaning: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"meaning": meaning, "secret": secret})


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of the service; the variable of each is its name in capitals after SERVICE_."""

    exports: Path = setting(Path("exports"), "where bundles are published")
    host: str = setting("127.0.0.1", "address to listen on; any but a loopback one wants keys, or ALLOW_ANONYMOUS")
    port: int = setting(8000, "for everything: classification, the other protocols, metrics, the page")
    default_model: str = setting("", "what /classify asks; empty: the only model there is")
    engine: Engine = setting("auto", "openvino, tensorflow; auto: tensorflow with an NVIDIA GPU, if installed")
    precision: Precision = setting(
        "auto", "float32, float16, bfloat16, int8; auto: the fastest in which the golden images agree"
    )
    workers: int = setting(0, "HTTP processes; 0: one per core")
    decode_threads: int = setting(0, "in each HTTP process; 0: one per core")
    max_batch_size: int = setting(32, "images")
    queue_capacity: int = setting(
        256, "images of one model that wait, shared out over the HTTP processes; beyond it 503, not late"
    )
    deadline_s: float = setting(10.0, "an answer later than this is not worth computing: 504")
    max_body_bytes: int = setting(16_000_000, "413 beyond it, unpacked where the body is compressed")
    max_images: int = setting(64, "in one request")
    max_pixels: int = setting(MAX_PIXELS, "of one image, by its header")
    read_timeout_s: float = setting(10.0, "for a request's head, and again for its body; idle connections too")
    max_connections: int = setting(4000, "for each HTTP process")
    predict_keys: str = setting("", "API keys that may classify, separated by commas; empty: everybody", secret=True)
    feedback_keys: str = setting(
        "", "API keys that may also say the right label; empty: nobody, but on the loopback address", secret=True
    )
    admin_keys: str = setting("", "API keys that may also promote, roll back, load; empty: nobody", secret=True)
    keys_file: str = setting("", "a file of lines `predict KEY`, `feedback KEY`, `admin KEY`, beside the three above")
    allow_anonymous: bool = setting(False, "1: listen beyond the loopback address without predict keys")
    cors_origins: str = setting("", "origins, separated by commas, whose pages may ask; exact, as https://example.org")
    canary_header: str = setting("", "header whose value decides who meets the canary; empty: chance decides")
    feedback: str = setting("feedback", "folder for images that come back with the right label; empty: none are taken")
    feedback_bytes: int = setting(1_000_000_000, "of that folder, for each model; 507 beyond it")
    feedback_new_labels: bool = setting(False, "1: take labels that the model does not know yet")
    recent_bytes: int = setting(
        32_000_000, "in each HTTP process: the latest images, so that feedback can name them by their request's id"
    )
    keep: float = setting(0.0, "share of the requests whose images are kept, to be labelled at /label; 0: none")
    keep_below: float = setting(1.0, "keep only images whose most probable class is less probable than this")
    keep_days: float = setting(30.0, "after which a kept image that nobody labelled is deleted")
    poll_interval_s: float = setting(0.5, "how often the exports are looked at")
    load_timeout_s: float = setting(
        120.0, "a model that takes longer to load is taken for hung; five times that beside one that answers"
    )
    hang_timeout_s: float = setting(20.0, "an engine silent, or busy with one batch, for longer is killed")
    drain_delay_s: float = setting(0.5, "between saying not ready and refusing connections; 5 to 10 behind a balancer")
    stop_timeout_s: float = setting(20.0, "for requests in flight after that")
    log_level: str = setting("INFO", "WARNING leaves out the lines of requests, but for those answered 5xx")
    log_format: LogFormat = setting("json", "json, text: lines for programs or for people")
    otlp_endpoint: str = setting("", "where OpenTelemetry's traces go, as http://host:4318/v1/traces; empty: nowhere")

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

    def shown(self) -> dict[str, Any]:
        """Every setting, for the log: secrets are masked."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        secrets = {field.name for field in fields(self) if field.metadata["secret"]}
        return {name: SECRET if value and name in secrets else value for name, value in values.items()}


def check_address(config: Config, *, has_keys: bool) -> None:
    """
    Args:
        has_keys: whether there are keys for classifying.

    Raises:
        BadSetting: nothing can listen at the host and port, or everybody could ask there.
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
    if not (has_keys or config.allow_anonymous or is_loopback(config.host)):
        raise BadSetting(
            f"At {config.address} everybody who reaches it could ask. Set {PREFIX}PREDICT_KEYS or {PREFIX}KEYS_FILE, "
            f"or {PREFIX}ALLOW_ANONYMOUS=1 where a proxy or a private network sees to that."
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse(name: str, kind: Any, value: str) -> Any:
    """A variable's text as the type of its setting."""
    choices = get_args(kind) or (TRUTHS if kind is bool else ())
    if choices:
        chosen = value.lower() if kind is bool else value
        if chosen not in choices:
            raise BadSetting(f"{name} is {value!r}; it can be {', '.join(choices)}.")
        return TRUTHS[chosen] if kind is bool else value
    try:
        parsed = kind(value)
    except ValueError:
        raise BadSetting(f"{name} is {value!r}; it has to be of type {kind.__name__}.") from None
    if kind in (int, float) and not 0 <= parsed < float("inf"):
        raise BadSetting(f"{name} is {value!r}; it has to be 0 or more.")
    return parsed


def split_list(text: str) -> list[str]:
    """What commas separate, without blanks."""
    return [item for item in (part.strip() for part in text.split(",")) if item]
