"""API keys: who may ask for classifications, give feedback, and say which version answers.

The supervisor reads and checks them, and hands their hashes to the HTTP workers in a file of its private directory:
`HandedOver` in the supervisor, `Received` in a worker.
"""

import hashlib
import hmac
import json
import logging
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models.files.durable import write_durably
from models.files.stamp import ABSENT, Stamp, stamp_of
from models.files.typed import read_json
from service.config import PREFIX, BadSetting, Config, is_loopback, split_list
from service.errors import Forbidden, Unauthorized
from service.ipc.keys import SCOPES, Key, Scope

if TYPE_CHECKING:  # the supervisor reads keys too, and is to stay small
    from service.telemetry.request_record import Headers

log = logging.getLogger(__name__)

MOST_NAMES = 1000
MIN_LENGTH = 16  # characters: shorter ones can be guessed
OPTIONS = "name=, rate=, burst= and quota="
OPTION = re.compile(r"(?:^|\s)(name|rate|burst|quota)=(\S*)\s*$")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ODD = re.compile(r"\s(#|\w+=)")
NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
FILE = "keys.json"  # in the private directory


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys; one for `feedback` allows `predict` too, and one for `admin` both.

    Where there are no keys for classifying, everybody may; where there are none for the others, nobody may.
    """

    keys: tuple[Key, ...] = ()
    feedback_is_open: bool = False  # whoever may classify may give feedback without a key for that
    is_private: bool = False  # only this machine can ask, since the address is a loopback one

    def of(self, scope: Scope) -> tuple[Key, ...]:
        return tuple(key for key in self.keys if key.scope == scope)

    def check(self, headers: "Headers", scope: Scope) -> Key | None:
        """`Authorization: Bearer KEY` or `X-API-Key: KEY`, compared in constant time.

        Returns:
            The key; None where none is needed.

        Raises:
            Unauthorized: there is no key, or none that we know.
            Forbidden: it does not allow this, or nothing does.
        """
        if scope == "feedback" and self.feedback_is_open:
            self._check_host(headers)
            return None
        if scope == "predict" and not self.of("predict"):
            return None
        allowing = self._allowing(scope)
        if not allowing:
            opens = ", and SERVICE_FEEDBACK_OPEN is not 1" if scope == "feedback" else ""
            raise Forbidden(f"Nobody may do this over HTTP: the service has no SERVICE_{scope.upper()}_KEYS{opens}.")
        given = key_of(headers)
        if given is None:
            raise Unauthorized("Send an API key as Authorization: Bearer KEY, or as X-API-Key: KEY.")
        key = find(digest_of(given), self.keys)
        if key is None:
            raise Unauthorized("This API key is not known here.")
        if key not in allowing:
            raise Forbidden(f"This API key does not allow this: send one of SERVICE_{scope.upper()}_KEYS.")
        return key

    def standing(self, headers: "Headers", scope: Scope) -> Literal["allowed", "key", "off"]:
        """Whether this request's key allows it, another key would, or none does."""
        try:
            self.check(headers, scope)
        except (Unauthorized, Forbidden):
            return "key" if self._allowing(scope) else "off"
        return "allowed"

    def _check_host(self, headers: "Headers") -> None:
        """Refuse foreign host names: by DNS rebinding, another site's page could otherwise send requests here."""
        host = (headers.get("Host") or "").rpartition(":")[0] or headers.get("Host") or ""
        if self.is_private and not is_loopback(host.strip("[]")):
            raise Forbidden("Feedback without a key is taken at localhost or a loopback address only.")

    @property
    def anybody_may_teach(self) -> bool:
        """Whether there is anybody who may give feedback."""
        return bool(self.of("feedback") or self.of("admin") or self.feedback_is_open)

    def _allowing(self, scope: Scope) -> tuple[Key, ...]:
        allowed = SCOPES[SCOPES.index(scope) :]
        return tuple(key for key in self.keys if key.scope in allowed)


def key_of(headers: "Headers") -> str | None:
    scheme, _, token = (headers.get("Authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("X-API-Key")


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def find(digest: str, keys: tuple[Key, ...]) -> Key | None:
    """The key with this digest that allows most."""
    found = [key for key in keys if hmac.compare_digest(digest, key.digest)]  # with every one, whichever it is
    return max(found, key=lambda key: SCOPES.index(key.scope), default=None)


def read_keys(config: Config) -> Keys:
    """Those of the settings and of the file.

    Raises:
        BadSetting: the file cannot be read or has another form, a key is too short, or everybody could ask.
    """
    found = [key_from(scope, text, {}) for scope in SCOPES for text in split_list(getattr(config, f"{scope}_keys"))] + (
        read_file(Path(config.keys_file)) if config.keys_file else []
    )
    scopes = {key.scope for key in found}
    if "feedback" in scopes and config.feedback_open:
        raise BadSetting(
            f"With {PREFIX}FEEDBACK_OPEN=1 everybody may give feedback, and {config.keys_file} has feedback keys: take "
            "one or the other."
        )
    if not ("predict" in scopes or config.allow_anonymous or is_loopback(config.host)):
        raise BadSetting(
            f"At {config.address} everybody who reaches it could ask. Set {PREFIX}PREDICT_KEYS or {PREFIX}KEYS_FILE, "
            f"or {PREFIX}ALLOW_ANONYMOUS=1 where a proxy or a private network sees to that."
        )
    return Keys(tuple(found), feedback_is_open=config.feedback_open, is_private=is_loopback(config.host))


def read_file(path: Path) -> list[Key]:
    """The keys of SERVICE_KEYS_FILE: `predict KEY name=shop rate=50 burst=200 quota=100000`, and so on.

    Raises:
        BadSetting: the file cannot be read, or a line of it has another form.
    """
    found: list[Key] = []
    for number, line in read_lines(path):
        scope, _, rest = line.partition(" ")
        text, options = split_options(rest.strip())
        try:
            if scope not in SCOPES or not text:
                raise ValueError(f"is none of {', '.join(f'`{s} KEY`' for s in SCOPES)}, with {OPTIONS} after it")
            key = key_from(scope, text, options)
            limits = {other.name: limits_of(other) for other in found}
            if key.name and limits.setdefault(key.name, limits_of(key)) != limits_of(key):
                raise ValueError(f"gives {key.name} other limits than a line before it; keys of one name share them")
        except BadSetting:
            raise
        except ValueError as error:
            raise BadSetting(f"Line {number} of {path} {error}.") from None
        found.append(key)
    return found


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """The key, in which there may be blanks, and what is said of it."""
    options: dict[str, str] = {}
    while match := OPTION.search(text):
        options[match[1]] = match[2]
        text = text[: match.start()]
    return text.strip(), options


def key_from(scope: Scope, text: str, options: dict[str, str]) -> Key:
    """
    Raises:
        ValueError: an option is not accepted.
        BadSetting: the key is too short.
    """
    if len(text) < MIN_LENGTH:
        raise BadSetting(f"An API key is too short: take {MIN_LENGTH} characters or more, as `openssl rand -hex 16`.")
    if ODD.search(text):
        raise ValueError(f"has something after its key that is none of {OPTIONS}")
    name, rate, quota = options.get("name", ""), number_of(options, "rate"), number_of(options, "quota")
    burst = number_of(options, "burst") or max(rate, 1.0)
    if name and not NAME.fullmatch(name):
        raise ValueError(f"has name={name}; use 1 to 64 of a-z, 0-9, dot, - and _")
    if (rate or quota or "burst" in options) and not name:
        raise ValueError("has a limit and no name, such as name=shop")
    if quota != int(quota) or ("burst" in options and not rate):
        raise ValueError("has a quota that is no whole number, or a burst without a rate")
    return Key(digest_of(text), scope, name, rate, burst if rate else 0.0, int(quota))


def number_of(options: dict[str, str], name: str) -> float:
    text = options.get(name, "0")
    number = float(text) if NUMBER.fullmatch(text) else 0.0
    if name in options and not number:
        raise ValueError(f"has {name}={text}; it has to be a number above 0")
    return number


def limits_of(key: Key) -> tuple[float, float, int]:
    return key.rate, key.burst, key.quota


def read_lines(path: Path) -> list[tuple[int, str]]:
    """With their numbers, without empty lines and comments."""
    try:
        lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"SERVICE_KEYS_FILE {path} cannot be read ({error}).") from None
    stripped = ((number, line.strip()) for number, line in lines)
    return [(number, line) for number, line in stripped if line and not line.startswith("#")]


class Rows:
    """Gives each name a row to be counted in, which it keeps as long as the service runs."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}

    def assign(self, keys: Keys) -> Keys:
        """
        Raises:
            BadSetting: there are too many names.
        """
        rows = {**self._rows}
        for key in keys.keys:
            if key.name:
                rows.setdefault(key.name, len(rows))
        if len(rows) > MOST_NAMES:
            raise BadSetting(f"The keys have had more than {MOST_NAMES:,} names since the service was started.")
        self._rows = rows
        return replace(keys, keys=tuple(replace(key, row=rows.get(key.name, -1)) for key in keys.keys))


class HandedOver:
    """The supervisor's side: keys that were checked, for the workers; read again when SERVICE_KEYS_FILE changes.

    Raises:
        BadSetting: as `read_keys`.
        OSError: they cannot be written.
    """

    def __init__(self, config: Config, runtime: Path) -> None:
        self._config = config
        self._path = runtime / FILE
        self._rows = Rows()
        self._stamp = self._look()
        self._keys = self._rows.assign(read_keys(config))
        self._write(self._keys)

    def follow(self) -> None:
        """Take up what the file says now; where that is wrong, the keys stay as they are, and the log says why."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        try:
            keys = self._rows.assign(read_keys(self._config))
            if self._keys.of("predict") and not keys.of("predict"):  # as of a file that is being written just now
                raise BadSetting(f"{self._config.keys_file} has no key that may classify, so that everybody could.")
            self._write(keys)
            self._keys = keys
            log.info("the API keys were read again: %s", ", ".join(f"{len(keys.of(s))} {s}" for s in SCOPES))
        except BadSetting as error:
            log.error("the API keys stay as they were: %s", error)
        except OSError as error:  # tried again at the next look
            log.error("the new API keys could not be handed over: %s", error)
            return
        self._stamp = stamp

    def _look(self) -> Stamp:
        return stamp_of(Path(self._config.keys_file)) if self._config.keys_file else ABSENT

    def _write(self, keys: Keys) -> None:
        write_durably(self._path, json.dumps(asdict(keys)) + "\n")


class Received:
    """A worker's side: the keys that the supervisor handed over last."""

    def __init__(self, runtime: Path) -> None:
        self._path = runtime / FILE
        self._stamp = stamp_of(self._path)
        self.keys = read_json(self._path, Keys)

    def reload(self) -> None:
        stamp = stamp_of(self._path)
        if stamp not in (ABSENT, self._stamp):  # absent: somebody cleaned up behind us
            self.keys, self._stamp = read_json(self._path, Keys), stamp
