"""Fetches a file of published weights, which happens only when somebody asks for it: `import-weights --download`."""

import http.client
import ssl
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from models.errors import UserError
from models.files.durable import replacing
from training.weights.published import Published

TIMEOUT_S = 30.0  # without a byte
NOT_ALLOWED = "no address of an allowed kind"
CHUNK = 1 << 20  # bytes
MARGIN = 1.05  # by which a file may be larger than the table says, which rounds


class CannotDownload(UserError):
    """The file cannot be fetched; the message says how else to get it, and how to train without."""


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows no address but those of the given schemes."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in self._schemes:
            raise HTTPError(newurl, code, f"it leads to {newurl}, which is {NOT_ALLOWED}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(entry: Published, folder: Path, schemes: tuple[str, ...] = ("https",)) -> Path:
    """The file of an entry in a folder, where it is fetched unless it is there. Its hash is checked in any case.

    Raises:
        BadWeights: what is there, or what came, has another hash.
        CannotDownload: the server cannot be reached, or sends something else.
    """
    path = folder / entry.file
    if path.exists():
        entry.check(path)
        return path
    try:
        with replacing(path) as temporary:
            fetch(entry, temporary, schemes)
            entry.check(temporary)
    except (URLError, TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise CannotDownload(
            f"{entry.url} cannot be fetched ({reason}). Fetch it on another machine ({entry.megabytes} MB, its "
            f"{entry.algorithm} begins with {entry.digest[:16]}) and give it by --file PATH. To train without it: "
            f"striate train --model {entry.network}."
        ) from error
    return path


def fetch(entry: Published, target: Path, schemes: tuple[str, ...]) -> None:
    """
    Raises:
        URLError, TimeoutError, ConnectionError, SSLError, HTTPException: it cannot be reached, or the file has not the
            length that it should have.
    """
    if urlsplit(entry.url).scheme not in schemes:
        raise URLError(NOT_ALLOWED)
    most, received = int(MARGIN * 1e6 * entry.megabytes), 0
    opener = urllib.request.build_opener(Redirects(schemes))
    with opener.open(entry.url, timeout=TIMEOUT_S) as response, target.open("wb") as file:
        while chunk := response.read(CHUNK):
            received += len(chunk)
            if received > most:
                raise URLError(f"it is larger than {most:,} bytes")
            file.write(chunk)
        announced = response.headers.get("Content-Length")
    if announced and int(announced) != received:
        raise URLError(f"the connection ended after {received:,} of {announced} bytes")
