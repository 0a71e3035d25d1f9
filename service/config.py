"""What an operator can set: SERVICE_PORT=8000, and so on; read once, at the start."""

import dataclasses
import difflib
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from models.bundle.preprocessing import MAX_PIXELS
from models.errors import UserError
from models.store.origin import is_address, mirror_folder

PREFIX = "SERVICE_"
SECRET = "********"
TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
Engine = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["auto", "float32", "float16", "bfloat16", "int8"]
WhenUnloaded = Literal["wait", "refuse"]
LogFormat = Literal["json", "text"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
RESEMBLES = 0.75  # of difflib: SERVICE_PROT is SERVICE_PORT misspelt, SERVICE_API_SERVICE_HOST is nothing of ours
INJECTED = re.compile(r"(tcp|udp|sctp)://")  # how Kubernetes and Docker links tell of other services
ORIGIN = re.compile(r"https?://[^/\s]+")
NUMBERS = {int: "a whole number", float: "a number"}
DAY_S = 86_400
REMOVED = {  # settings of earlier versions, and what holds instead
    "SERVICE_DECODE_THREADS": "there is about one decoder process per core",
    "SERVICE_MAX_CONNECTIONS": "each HTTP process accepts 4,000 connections",
    "SERVICE_POLL_INTERVAL_S": "the exports are looked at every half second",
}


class BadSetting(UserError):
    """A variable that is misspelt, or whose value is not accepted; says which are."""


def setting(
    default: Any, meaning: str, *, least: float | None = None, most: float | None = None, secret: bool = False
) -> Any:
    """A setting of `Config`: what it means, and from which to which number it is accepted."""
    return dataclasses.field(
        default=default, metadata={"meaning": meaning, "least": least, "most": most, "secret": secret}
    )


def seconds(default: float, meaning: str, *, least: float = 0, most: float = DAY_S) -> Any:
    return setting(default, meaning, least=least, most=most)


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of the service; the variable of each is its name in capitals after SERVICE_.

    Raises:
        BadSetting: a number is outside of its range, or two settings contradict each other.
    """

    exports: str = setting(
        "exports",
        "folder of the published bundles, or an object store: s3://bucket/prefix, gs://, az://, https:// (only read)",
    )
    cache: str = setting(
        "", "folder for what is fetched from an object store; empty: one in the folder for temporary files"
    )
    store_poll_s: float = seconds(2.0, "time between looks whether an object store names other versions", least=0.1)
    host: str = setting(
        "127.0.0.1", "address to listen on; any but a loopback address needs predict keys, or SERVICE_ALLOW_ANONYMOUS=1"
    )
    port: int = setting(8000, "TCP port; where this is not set, the variable PORT is used", least=1, most=65_535)
    default_model: str = setting(
        "", "model that /classify asks; empty: the one that default.json in the exports names, or the only one"
    )
    required_models: str = setting(
        "",
        "models, separated by commas, that /readyz asks; empty: the default model, or any model where none is default",
    )
    engine: Engine = setting("auto", "auto: tensorflow where there is an NVIDIA GPU and TensorFlow, else openvino")
    precision: Precision = setting("auto", "auto: the fastest in which the golden images get their answers")
    devices: str = setting(
        "",
        "what engines compute on, separated by commas: cpu, cpu:0-15 (these cores), numa (cores of each node), cuda "
        "(all GPUs), cuda:0; empty: all GPUs if TensorFlow has any, else all cores together",
    )
    replicas: int = setting(0, "engines of each live version; 0: one on each device", least=0, most=1000)
    memory_bytes: int = setting(
        0,
        "memory that engines may take, of main memory and of each GPU's; models that were not asked for longest are "
        "unloaded, and loaded when they are asked again. 0: no limit",
        least=0,
        most=10**15,
    )
    unload_idle_s: float = seconds(0.0, "a model that nobody asks for so long is unloaded. 0: never", most=30 * DAY_S)
    when_unloaded: WhenUnloaded = setting(
        "wait", "a request for a model that was unloaded so loads it, and waits for that, or gets 503 with Retry-After"
    )
    workers: int = setting(0, "HTTP processes; 0: one per core", least=0, most=1000)
    max_batch_size: int = setting(32, "images that are computed at once, at most", least=1, most=4096)
    queue_capacity: int = setting(
        256,
        "images of one model that may wait in all HTTP processes together; further requests get 503",
        least=1,
        most=1_000_000,
    )
    queue_bytes: int = setting(
        256_000_000,
        "bytes of the encoded images that wait, of all models together; further requests get 503",
        least=1,
        most=10**12,
    )
    deadline_s: float = seconds(10.0, "request timeout; requests that take longer get 504", least=0.01)
    max_body_bytes: int = setting(
        16_000_000, "bytes of a request's body, after unpacking; larger ones get 413", least=1, most=10**10
    )
    max_images: int = setting(64, "images in one request", least=1, most=100_000)
    max_pixels: int = setting(
        MAX_PIXELS,
        "pixels of one image, by its header; a baseline JPEG may have five times as many",
        least=1,
        most=10**9,
    )
    read_timeout_s: float = seconds(
        10.0, "for a request's head, and again for its body; idle connections are closed after it, too", least=0.1
    )
    predict_keys: str = setting(
        "", "API keys that may classify, separated by commas; empty: everybody may", secret=True
    )
    feedback_keys: str = setting("", "API keys that may also give feedback; empty: nobody may", secret=True)
    admin_keys: str = setting(
        "", "API keys that may also promote, roll back, load and unload; empty: nobody may", secret=True
    )
    keys_file: str = setting(
        "",
        "file of lines `predict KEY`, `feedback KEY`, `admin KEY`, beside the three above; read again when it changes",
    )
    allow_anonymous: bool = setting(False, "1: listen on other than loopback addresses without predict keys")
    examples: bool = setting(True, "0: nobody sees the test images that a bundle has, which the page offers to try")
    cors_origins: str = setting("", "origins, separated by commas, whose pages may ask, such as https://example.org")
    canary_header: str = setting(
        "", "request header whose value decides whether the canary answers; empty: it is chosen at random"
    )
    retain_versions: int = setting(
        0, "newest versions of each model that are kept; others without a role are deleted. 0: all", least=0, most=10**6
    )
    retain_days: float = setting(
        0.0, "age at which versions without a role are deleted, in days. 0: never", least=0, most=36_500
    )
    retain_bytes: int = setting(
        0, "bytes of all versions of a model; the oldest without a role are deleted. 0: no limit", least=0, most=10**15
    )
    feedback: str = setting(
        "feedback", "folder for images that come with their right label; empty: no feedback is taken"
    )
    feedback_open: bool = setting(False, "1: take feedback without a key; on a loopback address from this machine only")
    feedback_bytes: int = setting(
        1_000_000_000, "bytes of that folder for each model; feedback beyond it gets 507", least=1, most=10**15
    )
    feedback_new_labels: bool = setting(False, "1: take labels that the model does not know")
    recent_bytes: int = setting(
        32_000_000,
        "memory of each HTTP process for the latest images, which feedback can name by their request's id",
        least=0,
        most=10**12,
    )
    keep: float = setting(
        0.0, "share of the requests whose images are kept, to be labelled at /label; 0: none", least=0, most=1
    )
    keep_below: float = setting(
        1.0, "keep only images whose most probable class has a lower probability than this", least=0, most=1
    )
    keep_days: float = setting(30.0, "days after which a kept image without a label is deleted", least=0, most=36_500)
    load_timeout_s: float = seconds(
        120.0, "a model that takes longer to load is stopped; five times that beside one that answers", least=1
    )
    hang_timeout_s: float = seconds(
        20.0, "an engine that reports nothing, or computes one batch, for longer is killed", least=2
    )
    drain_delay_s: float = seconds(
        0.5, "time between answering 503 at /readyz and refusing connections; 5 to 10 behind a load balancer"
    )
    stop_timeout_s: float = seconds(20.0, "time for requests in flight after that")
    log_level: LogLevel = setting("INFO", "WARNING leaves out the lines of requests, except those answered with 5xx")
    log_format: LogFormat = setting("json", "text: lines to be read by people")
    otlp_endpoint: str = setting(
        "", "where OpenTelemetry traces are sent, such as http://host:4318/v1/traces; empty: nowhere"
    )

    def __post_init__(self) -> None:
        for field in fields(self):
            least, most, value = field.metadata["least"], field.metadata["most"], getattr(self, field.name)
            if least is not None and not least <= value <= most:
                given = f"{value:g}" if isinstance(value, float) else value
                raise BadSetting(f"{variable(field)} is {given}; it has to be a number from {accepted(field)}.")
        odd = [origin for origin in split_list(self.cors_origins) if not ORIGIN.fullmatch(origin)]
        if odd:
            raise BadSetting(
                f"{PREFIX}CORS_ORIGINS has {odd[0]!r}; an origin is like https://example.org, without a path."
            )
        for name, value in (("KEEP", self.keep), ("FEEDBACK_OPEN", self.feedback_open)):
            if value and not self.feedback:
                raise BadSetting(f"{PREFIX}{name} needs a folder, and {PREFIX}FEEDBACK is empty: set one of the two.")
        if self.feedback_open and self.feedback_keys:
            raise BadSetting(f"{PREFIX}FEEDBACK_OPEN=1 needs no {PREFIX}FEEDBACK_KEYS: leave one of the two out.")

    @property
    def address(self) -> str:
        """Host and port as URLs have them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def folder(self) -> Path:
        """The exports as a folder: the mirror of an object store, or the folder itself.

        Raises:
            UserError: the mirror's place belongs to another user.
        """
        if not is_address(self.exports):
            return Path(self.exports)
        return mirror_folder(self.exports, Path(self.cache) if self.cache else None)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Config":
        """The settings that the environment names; defaults for the rest. `strangers` says what is passed over.

        Raises:
            BadSetting: a SERVICE_ variable is misspelt, or its value is not accepted.
        """
        known = {variable(field): field for field in fields(cls)}
        given = {name: value for name, value in environment.items() if not INJECTED.match(value)}
        for name in sorted(given.keys() - known.keys() - REMOVED.keys()):
            meant = resembled(name, known)
            if meant:
                raise BadSetting(f"No setting is called {name}; is {meant} meant? There are {', '.join(known)}.")
        values = {field.name: parse(name, field.type, given[name]) for name, field in known.items() if name in given}
        if "port" not in values and "PORT" in given:
            values["port"] = parse("PORT", int, given["PORT"])
        return cls(**values)

    def shown(self) -> dict[str, Any]:
        """Every setting, for the log: secrets are masked."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        secrets = {field.name for field in fields(self) if field.metadata["secret"]}
        return {name: SECRET if value and name in secrets else value for name, value in values.items()}


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of processes that need no secret."""
    secrets = {variable(field) for field in fields(Config) if field.metadata["secret"]}
    return {name: value for name, value in environment.items() if name not in secrets}


def variable(field: Field[Any]) -> str:
    return PREFIX + field.name.upper()


def accepted(field: Field[Any]) -> str:
    """What a setting accepts, for people: "1 to 65535"; "" is any text."""
    choices = get_args(field.type) or (("0", "1") if field.type is bool else ())
    least, most = field.metadata["least"], field.metadata["most"]
    return ", ".join(choices) if choices else "" if least is None else f"{least:,} to {most:,}"


def resembled(name: str, known: Mapping[str, Any]) -> str | None:
    """The setting that a variable is likely to mean; None where it is likely to be somebody else's."""
    if not name.startswith(PREFIX):
        return None
    names = [setting.removeprefix(PREFIX) for setting in known]
    close = difflib.get_close_matches(name.removeprefix(PREFIX), names, n=1, cutoff=RESEMBLES)
    return PREFIX + close[0] if close else None


def strangers(environment: Mapping[str, str]) -> list[str]:
    """What is said of variables that begin like settings and are passed over, as Kubernetes injects them."""
    known = {variable(field) for field in fields(Config)}
    said = []
    for name, value in sorted(environment.items()):
        if INJECTED.match(value) and (name in known or name == "PORT"):
            said.append(f"{name} is {value[:100]}, which Kubernetes has set for another service; it is passed over")
        elif name in REMOVED:
            said.append(f"{name} is no setting any more, and is passed over: {REMOVED[name]}")
        elif name.startswith(PREFIX) and name not in known:
            said.append(f"{name} is no setting of this service; it is passed over")
    return said


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


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse(name: str, kind: Any, value: str) -> Any:
    """A variable's text as the type of its setting; words in either case.

    Raises:
        BadSetting: it is not accepted.
    """
    choices = TRUTHS if kind is bool else {choice.lower(): choice for choice in get_args(kind)}
    if choices:
        if value.lower() not in choices:
            raise BadSetting(f"{name} is {value!r}; it can be {', '.join(get_args(kind) or TRUTHS)}.")
        return choices[value.lower()]
    try:
        if kind in (int, float) and not value.isascii():
            raise ValueError("digits of another script")
        return kind(value)
    except ValueError:
        raise BadSetting(f"{name} is {value!r}; it has to be {NUMBERS[kind]}.") from None


def split_list(text: str) -> list[str]:
    """What commas separate, without blanks."""
    return [item for item in (part.strip() for part in text.split(",")) if item]
