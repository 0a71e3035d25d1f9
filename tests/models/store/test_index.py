"""Exports on a web server that lists nothing: index.json says what there is."""

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.bundle.manifest import verify
from models.errors import StoreAway, UserError
from models.store.live import read_live, set_live
from models.store.mirror import Mirror, write_index
from models.store.origin import mirror_folder
from models.store.publish import publish
from tests.bundles import make_bundle


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    publish(make_bundle(tmp_path / "bundle"), tmp_path / "exports")
    return tmp_path / "exports"


@pytest.fixture
def mirror(folder: Path, tmp_path: Path) -> Iterator[Path]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield mirror_folder(f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
    server.shutdown()
    server.server_close()


def test_a_web_server_is_mirrored_by_its_index(folder: Path, mirror: Path) -> None:
    write_index(folder)
    brought = Mirror(mirror)
    brought.pull(listing=True)
    assert brought.fetch() == []
    assert verify(mirror / "toy" / "1") == verify(folder / "toy" / "1")
    publish(folder / "toy" / "1", folder)
    brought.pull(listing=False)
    assert read_live(mirror / "toy").live == 2  # the pointer needs no index


def test_a_web_server_without_an_index_is_an_error_that_says_what_to_do(mirror: Path) -> None:
    with pytest.raises(StoreAway, match="is missing or no index: write it with striate index"):
        Mirror(mirror).pull(listing=True)


def test_nothing_is_promoted_through_a_web_server(folder: Path, mirror: Path) -> None:
    write_index(folder)
    Mirror(mirror).pull(listing=True)
    with pytest.raises((UserError, StoreAway), match=r"can only be read|fails at"):
        set_live(mirror, "toy", 1)
