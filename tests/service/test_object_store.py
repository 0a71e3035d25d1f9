"""The service with exports in an object store, asked over HTTP."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from models.bundle.manifest import GOLDEN
from models.store.objects import object_store
from models.store.origin import mirror_folder
from models.store.publish import publish
from tests.harness import RunningService, golden_image, running_service, wait_until
from tests.object_store import Bucket, running_bucket, use
from tests.processes import ROOT, environment

ADMIN = {"X-API-Key": "an-admin-key-of-tests"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, digits_exports: Path, tmp_path: Path) -> Iterator[Bucket]:
    """With two versions of `digits`, of which the first is live."""
    object_store.cache_clear()
    with running_bucket() as found:
        use(found, monkeypatch)
        mirror = mirror_folder(found.address, tmp_path / "publisher")
        for make_live in (True, False):
            publish(digits_exports / "digits" / "1", mirror, make_live=make_live)
        yield found


def live_version(service: RunningService) -> int | None:
    live: int | None = requests.get(f"{service.url}/models/digits", timeout=10).json()["live"]
    return live


def classify(service: RunningService, image: bytes) -> requests.Response:
    return requests.post(f"{service.url}/classify", data=image, timeout=30)


def striate(bucket: Bucket, tmp_path: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "striate", *arguments],
        cwd=ROOT,
        env={
            **environment(),
            **bucket.variables,
            "SERVICE_EXPORTS": bucket.address,
            "SERVICE_CACHE": str(tmp_path / "operator"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def test_a_promotion_at_one_service_reaches_the_other(bucket: Bucket, digits_exports: Path, tmp_path: Path) -> None:
    settings = {"admin_keys": ADMIN["X-API-Key"], "store_poll_s": 0.2}
    image = golden_image(digits_exports)
    with (
        running_service(bucket.address, tmp_path, cache=tmp_path / "a", **settings) as one,
        running_service(bucket.address, tmp_path, cache=tmp_path / "b", **settings) as other,
    ):
        assert [live_version(service) for service in (one, other)] == [1, 1]
        promoted = requests.post(f"{one.url}/models/digits/promote", json={"version": 2}, headers=ADMIN, timeout=30)
        assert promoted.status_code == 200, promoted.text
        for service in (one, other):
            wait_until(lambda service=service: live_version(service) == 2, service)  # type: ignore[misc]
            assert classify(service, image).json()["version"] == 2
        striate(bucket, tmp_path, "rollback", "digits")
        for service in (one, other):
            wait_until(lambda service=service: live_version(service) == 1, service)  # type: ignore[misc]


def test_a_store_that_is_away_is_noticed_by_nobody_who_is_served(
    bucket: Bucket, digits_exports: Path, tmp_path: Path
) -> None:
    image = golden_image(digits_exports)
    settings = {"admin_keys": ADMIN["X-API-Key"], "store_poll_s": 0.2, "cache": tmp_path / "cache"}
    with running_service(bucket.address, tmp_path, **settings) as service:
        bucket.failing = lambda method, path: True
        refused = requests.post(f"{service.url}/models/digits/promote", json={"version": 2}, headers=ADMIN, timeout=60)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        assert classify(service, image).status_code == 200
        assert requests.get(f"{service.url}/readyz", timeout=10).status_code == 200
        wait_until(lambda: "what is here goes on answering" in service.log(), service)
        assert service.stop() == 0
    with running_service(bucket.address, tmp_path, **settings) as again:  # what was fetched before is still there
        assert classify(again, image).json()["version"] == 1
        bucket.failing = lambda method, path: False
        striate(bucket, tmp_path, "promote", "digits", "2")
        wait_until(lambda: live_version(again) == 2, again)


def test_a_version_that_is_damaged_in_the_store_leaves_the_old_one_live(
    bucket: Bucket, digits_exports: Path, tmp_path: Path
) -> None:
    with running_service(bucket.address, tmp_path, cache=tmp_path / "cache", store_poll_s=0.2) as service:
        bucket.put(f"digits/2/{(GOLDEN / '3').as_posix()}", b"another image")
        striate(bucket, tmp_path, "promote", "digits", "2")
        wait_until(lambda: "version 2 of digits is not taken up" in service.log(), service)
        assert live_version(service) == 1
        assert classify(service, golden_image(digits_exports)).json()["version"] == 1
        url = f"{service.url}/models/digits"
        wait_until(lambda: "waiting for" in requests.get(url, timeout=10).text, service)


def test_the_mirroring_process_is_started_again(bucket: Bucket, tmp_path: Path) -> None:
    with running_service(bucket.address, tmp_path, cache=tmp_path / "cache", store_poll_s=0.2) as service:
        (pid,) = service.pids("service.mirror")
        subprocess.run(["kill", "-9", str(pid)], check=True)
        wait_until(lambda: bool({*service.pids("service.mirror")} - {pid}), service)
        striate(bucket, tmp_path, "promote", "digits", "2")
        wait_until(lambda: live_version(service) == 2, service)


def test_commands_work_on_a_store_as_on_a_folder(bucket: Bucket, tmp_path: Path, digits_exports: Path) -> None:
    listed = striate(bucket, tmp_path, "models")
    assert "digits, default" in listed
    assert "broken" not in listed
    assert "incomplete" not in listed
    said = striate(bucket, tmp_path, "publish", str(digits_exports / "digits" / "1"), "--force")
    assert "3" in said
    assert "live 3, previous 1" in striate(bucket, tmp_path, "shadow", "digits", "2")
    assert "version 3, live" in striate(bucket, tmp_path, "explain", "digits")
    assert "digits version 3, live, the default model" in striate(bucket, tmp_path, "check")
    bucket.failing = lambda method, path: True
    assert "s3://models/exports fails at" in striate(bucket, tmp_path, "promote", "digits", "2", status=2)
