"""A bundle that never runs, and a place to publish it."""

from pathlib import Path

import pytest

from tests.bundles import make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    return tmp_path / "exports"
