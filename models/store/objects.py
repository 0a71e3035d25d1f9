"""Objects below one address of an object store: s3://bucket/prefix, gs://, az://, or https:// that is only read.

The library is obstore, bindings to the Rust crate object_store; credentials come from the variables and the metadata
services that each store's own tools use. A write may be conditional: it succeeds only if the object is as it was read
(If-Match), or if there is none (If-None-Match: *), so that of two writers one wins.
"""

import logging
import os
import re
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import certifi
import obstore
from obstore import exceptions
from obstore.store import from_url

from models.errors import StoreAway, StoreChanged, UserError

log = logging.getLogger(__name__)

T = TypeVar("T")
ADDRESS = re.compile(r"(s3|gs|az|https?)://\S+")
PIECE_BYTES = 4 * 2**20  # of a large object, each by a request of its own
PIECE_TIMEOUT_S = 20.0
WHOLE_TIMEOUT_S = 1800.0  # for a file of a web server
CONNECT_TIMEOUT_S = 5.0
RETRIES = 3  # of a request that was answered with 5xx, or cut off
RETRY_S = 10.0  # no retry begins later than this
AUTHORITIES = (  # where Linux distributions keep the certificates that they trust
    *("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"),
    "/etc/ssl/cert.pem",
)
PROBE = ".striate"  # an object that exists: a store that creates it again ignores conditions


@dataclass(frozen=True, slots=True)
class Tag:
    """Which content an object has: its entity tag, and its version or generation where the store has those."""

    e_tag: str | None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Object:
    data: bytes
    tag: Tag


UNCHANGED = Object(b"", Tag(None))  # what `read` returns where the object still has the tag that is known


class ObjectStore:
    """
    Args:
        address: without a slash at its end.

    Raises:
        UserError: nothing can be at this address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        trust_certificates()
        self.is_read_only = address.startswith("http")
        try:
            self._store = from_url(address, **options_for(address))
        except (exceptions.BaseError, ValueError) as error:
            raise UserError(f"{address} is no address of an object store: {first_line(error)}") from None
        self._is_conditional: bool | None = None  # None: not tried yet

    def read(self, key: str, *, unless: Tag | None = None) -> Object | None:
        """An object; None where there is none, UNCHANGED where it has the tag `unless`."""
        asked: Any = {"if_none_match": unless.e_tag} if unless and unless.e_tag else {}
        try:
            found = obstore.get(self._store, key, options=asked)
            return Object(bytes(found.bytes()), tag_of(found.meta))
        except exceptions.NotModifiedError:
            return UNCHANGED
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._away(key, error) from error

    def write(self, key: str, data: bytes, *, instead_of: Tag | None) -> None:
        """Replace the object that was read with this tag, or make one where there was none.

        Raises:
            StoreChanged: it has changed since.
        """
        self.check_writable()
        mode: Any = "overwrite"
        if self.is_conditional:
            pairs = {} if instead_of is None else {"e_tag": instead_of.e_tag, "version": instead_of.version}
            mode = {name: value for name, value in pairs.items() if value is not None} or "create"
        try:
            obstore.put(self._store, key, data, mode=mode, use_multipart=False)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            if not self._has(key, data):  # else it was our own write, whose answer was lost and which was sent again
                raise StoreChanged(f"{self.address}/{key} was changed by another writer.") from None
        except Exception as error:
            raise self._away(key, error) from error

    def claim(self, key: str) -> bool:
        """Make an object that nobody else has made; whether that was done."""
        if not self.is_conditional and self.read(key) is not None:
            return False
        try:
            self.write(key, secrets.token_bytes(16), instead_of=None)
        except StoreChanged:
            return False
        return True

    def send(self, path: Path, key: str) -> None:
        """Upload a file."""
        self.check_writable()
        self._call(key, lambda: obstore.put(self._store, key, path))

    def fetch(self, key: str, path: Path) -> None:
        """Download an object piece by piece; one that is cut off is asked for again.

        Raises:
            FileNotFoundError: there is none.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            if self.is_read_only:  # not every web server knows ranges
                whole = self._call(key, lambda: obstore.get(self._store, key))
                self._call(key, lambda: [file.write(piece) for piece in whole.stream()])
                return
            meta: Any = self._call(key, lambda: obstore.head(self._store, key))
            unless: dict[str, Any] = {"if_match": meta["e_tag"]} if meta["e_tag"] else {}
            for start in range(0, meta["size"], PIECE_BYTES):
                asked: Any = {"range": (start, min(meta["size"], start + PIECE_BYTES)), **unless}
                piece = self._call(key, partial(obstore.get, self._store, key, options=asked))
                file.write(self._call(key, piece.bytes))

    def folders(self, prefix: str = "") -> tuple[set[str], set[str]]:
        """Names directly below a prefix, as the store lists them, which may be old: of folders, and of objects."""
        listed = self._call(prefix, lambda: obstore.list_with_delimiter(self._store, prefix or None))
        names = [[Path(path).name for path in listed["common_prefixes"]], [o["path"] for o in listed["objects"]]]
        return set(names[0]), {Path(path).name for path in names[1]}

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of every object below a prefix, by its key relative to that."""

        def collect() -> dict[str, int]:
            pages = obstore.list(self._store, prefix)
            return {str(Path(o["path"]).relative_to(prefix)): o["size"] for page in pages for o in page}

        return self._call(prefix, collect)

    def youngest(self, prefix: str) -> float:
        """When the last object below a prefix was written, in seconds of the epoch; 0 where there is none."""

        def collect() -> float:
            pages = obstore.list(self._store, prefix)
            return max((o["last_modified"].timestamp() for page in pages for o in page), default=0.0)

        return self._call(prefix, collect)

    def delete(self, keys: list[str]) -> None:
        self.check_writable()
        if keys:
            self._call(keys[0], lambda: obstore.delete(self._store, keys))

    @property
    def is_conditional(self) -> bool:
        """Whether the store heeds If-Match and If-None-Match; it is tried once."""
        if self._is_conditional is None:
            self._is_conditional = self._creates_once()
            if not self._is_conditional:
                log.warning(
                    "%s has no conditional writes: only one machine may publish and promote there at a time",
                    self.address,
                )
        return self._is_conditional

    def _creates_once(self) -> bool:
        for _ in range(2):
            try:
                obstore.put(self._store, PROBE, b"", mode="create", use_multipart=False)
            except exceptions.AlreadyExistsError:
                return True
            except exceptions.NotSupportedError:
                return False
            except Exception as error:
                if "NotImplemented" in str(error):
                    return False
                raise self._away(PROBE, error) from error
        return False

    def _has(self, key: str, data: bytes) -> bool:
        found = self.read(key)
        return found is not None and found.data == data

    def check_writable(self) -> None:
        """
        Raises:
            UserError: this is a web server.
        """
        if self.is_read_only:
            raise UserError(
                f"{self.address} can only be read: publish and promote where its files come from, and upload them "
                "with a new index (striate index)."
            )

    def _call(self, key: str, request: Callable[[], T]) -> T:
        try:
            return request()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._away(key, error) from error

    def _away(self, key: str, error: Exception) -> StoreAway:
        return StoreAway(f"{self.address} fails at {key or 'its list'}: {first_line(error)}")


@cache
def object_store(address: str) -> ObjectStore:
    """One for each address and process: it keeps connections and credentials."""
    return ObjectStore(address)


def trust_certificates() -> None:
    """Have certifi's authorities where the machine has none, as in a small image; without any, not even http: works."""
    is_said = "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ
    if sys.platform == "linux" and not is_said and not any(Path(path).exists() for path in AUTHORITIES):
        os.environ["SSL_CERT_FILE"] = certifi.where()


def options_for(address: str) -> dict[str, Any]:
    return {
        "client_options": {
            "allow_http": True,  # of an endpoint in the cluster or on this machine; the address says which it is
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            "timeout": timedelta(seconds=WHOLE_TIMEOUT_S if address.startswith("http") else PIECE_TIMEOUT_S),
        },
        "retry_config": {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
    }


def tag_of(meta: Any) -> Tag:
    return Tag(meta["e_tag"], meta["version"])


def first_line(error: Exception) -> str:
    """The library says where in its own code an error is, too, which is for nobody here."""
    return str(error).strip().partition("\n")[0]
