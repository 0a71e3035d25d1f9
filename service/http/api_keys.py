"""API keys: who may ask for classifications, give feedback, and say which version answers.

The supervisor reads and checks them, and hands their hashes to the HTTP workers in a file of its private directory:
`HandedOver` in the supervisor, `Received` in a worker.
"""

import hashlib
import hmac
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from models.files.durable import write_durably
from models.files.stamp import ABSENT, Stamp, stamp_of
from models.files.typed import read_json
from service.config import PREFIX, BadSetting, Config, is_loopback, split_list
from service.errors import Forbidden, Unauthorized

if TYPE_CHECKING:  # the supervisor reads keys too, and is to stay small
    from service.telemetry.request_record import Headers

log = logging.getLogger(__name__)

Scope = Literal["predict", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)  # each allows what those before it do
MIN_LENGTH = 16  # characters: shorter ones can be guessed
FILE = "keys.json"  # in the private directory


@dataclass(frozen=True, slots=True)
class Keys:
    """SHA-256 of every key, in hexadecimal, by what it allows: `feedback` allows `predict` too, and `admin` both.

    Where there are no keys for classifying, everybody may; where there are none for the others, nobody may.
    """

    predict: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()
    admin: tuple[str, ...] = ()
    feedback_is_open: bool = False  # whoever may classify may give feedback without a key for that
    is_private: bool = False  # only this machine can ask, since the address is a loopback one

    def check(self, headers: "Headers", scope: Scope) -> None:
        """`Authorization: Bearer KEY` or `X-API-Key: KEY`, compared in constant time.

        Raises:
            Unauthorized: there is no key, or none that we know.
            Forbidden: it does not allow this, or nothing does.
        """
        if scope == "feedback" and self.feedback_is_open:
            self._check_host(headers)
            return
        if scope == "predict" and not self.predict:
            return
        allowing = self._allowing(scope)
        if not allowing:
            opens = ", and SERVICE_FEEDBACK_OPEN is not 1" if scope == "feedback" else ""
            raise Forbidden(f"Nobody may do this over HTTP: the service has no SERVICE_{scope.upper()}_KEYS{opens}.")
        given = key_of(headers)
        if given is None:
            raise Unauthorized("Send an API key as Authorization: Bearer KEY, or as X-API-Key: KEY.")
        digest = digest_of(given)
        allowed, known = matches(digest, allowing), matches(digest, self._allowing("predict"))
        if not known:
            raise Unauthorized("This API key is not known here.")
        if not allowed:
            raise Forbidden(f"This API key does not allow this: send one of SERVICE_{scope.upper()}_KEYS.")

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
        return bool(self.feedback or self.admin or self.feedback_is_open)

    def _allowing(self, scope: Scope) -> tuple[str, ...]:
        return tuple(digest for other in SCOPES[SCOPES.index(scope) :] for digest in getattr(self, other))


def key_of(headers: "Headers") -> str | None:
    scheme, _, token = (headers.get("Authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("X-API-Key")


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def matches(digest: str, digests: tuple[str, ...]) -> bool:
    compared = [hmac.compare_digest(digest, known) for known in digests]  # with every one, whichever it is
    return any(compared)


def read_keys(config: Config) -> Keys:
    """Those of the settings and of the file.

    Raises:
        BadSetting: the file cannot be read or has another form, a key is too short, or everybody could ask.
    """
    found: dict[str, list[str]] = {scope: split_list(getattr(config, f"{scope}_keys")) for scope in SCOPES}
    if config.keys_file:
        for number, line in read_lines(Path(config.keys_file)):
            scope, _, key = line.partition(" ")
            if scope not in found or not key.strip():
                raise BadSetting(
                    f"Line {number} of {config.keys_file} is none of {', '.join(f'`{s} KEY`' for s in SCOPES)}."
                )
            found[scope].append(key.strip())
    if found["feedback"] and config.feedback_open:
        raise BadSetting(
            f"With {PREFIX}FEEDBACK_OPEN=1 everybody may give feedback, and {config.keys_file} has feedback keys: take "
            "one or the other."
        )
    if any(len(key) < MIN_LENGTH for keys in found.values() for key in keys):
        raise BadSetting(f"An API key is too short: take {MIN_LENGTH} characters or more, as `openssl rand -hex 16`.")
    if not (found["predict"] or config.allow_anonymous or is_loopback(config.host)):
        raise BadSetting(
            f"At {config.address} everybody who reaches it could ask. Set {PREFIX}PREDICT_KEYS or {PREFIX}KEYS_FILE, "
            f"or {PREFIX}ALLOW_ANONYMOUS=1 where a proxy or a private network sees to that."
        )
    digests = {scope: tuple(map(digest_of, keys)) for scope, keys in found.items()}
    return Keys(**digests, feedback_is_open=config.feedback_open, is_private=is_loopback(config.host))


def read_lines(path: Path) -> list[tuple[int, str]]:
    """With their numbers, without empty lines and comments."""
    try:
        lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"SERVICE_KEYS_FILE {path} cannot be read ({error}).") from None
    stripped = ((number, line.strip()) for number, line in lines)
    return [(number, line) for number, line in stripped if line and not line.startswith("#")]


class HandedOver:
    """The supervisor's side: keys that were checked, for the workers; read again when SERVICE_KEYS_FILE changes.

    Raises:
        BadSetting: as `read_keys`.
        OSError: they cannot be written.
    """

    def __init__(self, config: Config, runtime: Path) -> None:
        self._config = config
        self._path = runtime / FILE
        self._stamp = self._look()
        self._keys = read_keys(config)
        self._write(self._keys)

    def follow(self) -> None:
        """Take up what the file says now; where that is wrong, the keys stay as they are, and the log says why."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        try:
            keys = read_keys(self._config)
            if self._keys.predict and not keys.predict:  # as of a file that is being written just now
                raise BadSetting(f"{self._config.keys_file} has no key that may classify, so that everybody could.")
            self._write(keys)
            self._keys = keys
            log.info("the API keys were read again: %s", ", ".join(f"{len(getattr(keys, s))} {s}" for s in SCOPES))
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
