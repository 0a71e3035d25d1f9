"""What the tests of object stores share."""

from collections.abc import Iterator

import pytest

from models.store.objects import object_store
from tests.object_store import Bucket, running_bucket, use


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    object_store.cache_clear()
    with running_bucket() as found:
        use(found, monkeypatch)
        yield found
