"""A job whose model has two published versions."""

from pathlib import Path

import pytest

from models.store.publish import publish
from tests.bundles import make_bundle
from tests.images import shades, write_folder
from training.retrain.job import Job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Of a model of which versions 1 and 2 are published."""
    bundle = make_bundle(tmp_path / "bundle")
    for _ in range(2):
        publish(bundle, tmp_path / "exports")
    folder = write_folder(tmp_path / "base", {"cat": shades(20, 0, 99), "dog": shades(20, 100, 255)})
    return Job(
        "toy", str(folder), (tmp_path / "feedback",), tmp_path / "exports", tmp_path / "runs", tmp_path / "cache"
    )
