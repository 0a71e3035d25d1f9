"""Exports in Azure Blob Storage, as Azure's emulator Azurite has it; passed over where that is not installed."""

import base64
import contextlib
import hashlib
import hmac
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from models.bundle.manifest import verify
from models.store.layout import list_versions
from models.store.live import LiveVersionChanged, read_live, roll_back, set_live
from models.store.objects import object_store
from models.store.origin import mirror_folder
from models.store.prune import Retention, prune
from models.store.publish import publish
from tests.bundles import make_bundle
from tests.harness import free_port, golden_image, running_service, wait_until
from tests.models.store.test_mirror import synchronised

ACCOUNT = "devstoreaccount1"  # the account and key that the emulator always has
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "models"
ADDRESS = f"az://{CONTAINER}/exports"

pytestmark = pytest.mark.skipif(shutil.which("azurite-blob") is None, reason="Azure's emulator is not here")


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    object_store.cache_clear()
    port = free_port()
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    command = ["azurite-blob", "--location", str(tmp_path / "azure"), "--blobPort", str(port), "--skipApiVersionCheck"]
    with (tmp_path / "azurite.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as emulator:
        try:
            make_container(url)
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", url)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
            yield
        finally:
            emulator.terminate()


def make_container(url: str) -> None:
    """The library has no request for that, so it is signed here ("Authorize with Shared Key" in Azure's reference)."""
    now, version = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "2021-08-06"
    headers = f"x-ms-date:{now}\nx-ms-version:{version}"
    signed = "PUT" + 12 * "\n" + f"{headers}\n/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    code = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    sent = {
        "x-ms-date": now,
        "x-ms-version": version,
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(code).decode()}",
    }
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            requests.put(f"{url}/{CONTAINER}?restype=container", headers=sent, timeout=10).raise_for_status()
            return
        time.sleep(0.1)
    raise TimeoutError("Azure's emulator does not answer")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return mirror_folder(ADDRESS, tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Another machine's mirror."""
    return mirror_folder(ADDRESS, tmp_path / "theirs")


def test_what_one_machine_publishes_and_rolls_back_another_has(bundle: Path, ours: Path, theirs: Path) -> None:
    assert publish(bundle, ours) == 1
    assert publish(bundle, ours) == 2
    verify(synchronised(theirs) / "toy" / "2")
    assert read_live(theirs / "toy").live == 2
    roll_back(theirs, "toy")
    assert read_live(synchronised(ours) / "toy").live == 1


def test_of_two_machines_one_wins(bundle: Path, ours: Path, theirs: Path) -> None:
    assert object_store(ADDRESS).is_conditional
    assert [publish(bundle, exports, make_live=False) for exports in (ours, theirs, ours)] == [1, 2, 3]
    set_live(ours, "toy", 1)
    synchronised(theirs)
    set_live(ours, "toy", 2, instead_of=1)
    with pytest.raises(LiveVersionChanged, match="instead of 1"):
        set_live(theirs, "toy", 3, instead_of=1)
    assert read_live(theirs / "toy").live == 2


def test_versions_that_nobody_needs_are_deleted_there(bundle: Path, ours: Path, theirs: Path) -> None:
    for _ in range(4):
        publish(bundle, ours)
    assert [pruned.version for pruned in prune(ours, Retention(versions=1))] == [1, 2]
    assert list_versions(synchronised(theirs) / "toy") == [3, 4]


def test_a_service_follows(digits_exports: Path, ours: Path, tmp_path: Path) -> None:
    for make_live in (True, False):
        publish(digits_exports / "digits" / "1", ours, make_live=make_live)
    image = golden_image(digits_exports)
    with running_service(ADDRESS, tmp_path, cache=tmp_path / "cache", store_poll_s=0.2) as service:

        def version() -> int:
            answer = requests.post(f"{service.url}/classify", data=image, timeout=30).json()
            answered: int = answer["version"]
            return answered

        assert version() == 1
        set_live(ours, "digits", 2)
        wait_until(lambda: version() == 2, service)
