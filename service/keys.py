"""API keys: who may ask for classifications, and who may say which version answers."""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from service.config import BadSetting, Config, is_loopback, split_list
from service.errors import Forbidden, Unauthorized

if TYPE_CHECKING:  # the supervisor reads keys too, and is to stay small
    from werkzeug.datastructures import Headers

Scope = Literal["predict", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)  # each allows what those before it do
MIN_LENGTH = 16  # characters: shorter ones can be guessed


@dataclass(frozen=True, slots=True)
class Keys:
    """SHA-256 of every key, by what it allows: `feedback` allows `predict` too, and `admin` both.

    Where there are no keys for classifying, everybody may; where there are none for admins, nobody is one.

    Attributes:
        is_private: only this machine can ask, so that who may classify may give feedback, if there are no keys for it.
    """

    predict: tuple[bytes, ...]
    feedback: tuple[bytes, ...]
    admin: tuple[bytes, ...]
    is_private: bool = False

    def check(self, headers: "Headers", scope: Scope) -> None:
        """`Authorization: Bearer KEY` or `X-API-Key: KEY`, compared in constant time.

        Raises:
            Unauthorized: there is no key, or none that we know.
            Forbidden: it does not allow this, or nothing does.
        """
        if scope == "feedback" and self.is_private and not (self.feedback or self.predict) and comes_from_here(headers):
            return
        if scope == "predict" and not self.predict:
            return
        allowing = self._allowing(scope)
        if not allowing:
            raise Forbidden(f"Nobody may do this over HTTP: the service has no SERVICE_{scope.upper()}_KEYS.")
        given = key_of(headers)
        if given is None:
            raise Unauthorized("Send an API key as Authorization: Bearer KEY, or as X-API-Key: KEY.")
        digest = hashlib.sha256(given.encode()).digest()
        allowed, known = matches(digest, allowing), matches(digest, self._allowing("predict"))
        if not known:
            raise Unauthorized("This API key is not known here.")
        if not allowed:
            raise Forbidden(f"This API key is not for this: it wants one of SERVICE_{scope.upper()}_KEYS.")

    @property
    def anybody_may_teach(self) -> bool:
        """Whether there is anybody who may give feedback."""
        return bool(self.feedback or self.admin or (self.is_private and not self.predict))

    def _allowing(self, scope: Scope) -> tuple[bytes, ...]:
        return tuple(digest for other in SCOPES[SCOPES.index(scope) :] for digest in getattr(self, other))


def key_of(headers: "Headers") -> str | None:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("X-API-Key")


def comes_from_here(headers: "Headers") -> bool:
    """Not through a proxy, whose clients may be anybody, nor under a name that somebody has pointed at this machine."""
    host = headers.get("Host", "").rpartition(":")[0] or headers.get("Host", "")
    return "X-Forwarded-For" not in headers and "Forwarded" not in headers and is_loopback(host.strip("[]"))


def matches(digest: bytes, digests: tuple[bytes, ...]) -> bool:
    compared = [hmac.compare_digest(digest, known) for known in digests]  # with every one, whichever it is
    return any(compared)


def read_keys(config: Config) -> Keys:
    """Those of the settings and of the file.

    Raises:
        BadSetting: the file cannot be read or has another form, or a key is too short.
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
    if any(len(key) < MIN_LENGTH for keys in found.values() for key in keys):
        raise BadSetting(f"An API key is too short: take {MIN_LENGTH} characters or more, as `openssl rand -hex 16`.")
    digests = {scope: tuple(hashlib.sha256(key.encode()).digest() for key in keys) for scope, keys in found.items()}
    return Keys(**digests, is_private=is_loopback(config.host))


def read_lines(path: Path) -> list[tuple[int, str]]:
    """With their numbers, without empty lines and comments."""
    try:
        lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"SERVICE_KEYS_FILE {path} cannot be read ({error}).") from None
    stripped = ((number, line.strip()) for number, line in lines)
    return [(number, line) for number, line in stripped if line and not line.startswith("#")]
