"""The directory of a run, and what is remembered beside it."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from models.bundle.preprocessing import InputSpec
from tests.images import shades, write_folder
from training.data.dataset import Data, find_images, prepare
from training.data.index import BadData
from training.data.split import FRACTIONS
from training.runs.directory import CONFIG, HELD_OUT, claim_run, held_out_file, key_of
from training.sources.labels import Labels

QUIET = Console(file=io.StringIO())
FEW = {"cat": shades(3, 0, 100), "dog": shades(3, 100, 255)}
MANY = {"cat": [*FEW["cat"], *shades(40, 1, 99)], "dog": [*FEW["dog"], *shades(40, 101, 254)]}


def prepared(home: Path) -> Data:
    """What a run in `home` trains on."""
    data = str(home / "data")
    memory = held_out_file(home / "runs", data, FRACTIONS, home / "cache")
    return prepare(find_images(data, home / "cache"), InputSpec(8, 8, 1), home / "cache", QUIET, memory=memory)


def held_out(data: Data) -> set[int]:
    return set(data.decoded.hashes()[np.concatenate([data.split.val, data.split.test])].tolist())


def test_images_stay_held_out_though_the_cache_is_deleted_and_images_are_added(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", FEW)
    before = held_out(prepared(tmp_path))
    shutil.rmtree(tmp_path / "cache")
    write_folder(tmp_path / "data", MANY)
    assert before <= held_out(prepared(tmp_path))


def test_an_archive_that_is_made_anew_is_the_same_data_set_and_another_grouping_is_another(tmp_path: Path) -> None:
    """A memory of single images would divide groups."""
    packed, more = tmp_path / "data.zip", {"cat/new.png": b"new"}
    by_camera = Labels(group_by="camera[0-9]")
    before = held_out_file(tmp_path / "runs", str(packed), FRACTIONS, tmp_path / "cache")
    for files in ({}, more):
        with zipfile.ZipFile(packed, "w") as written:
            for name, content in files.items():
                written.writestr(name, content)
        assert held_out_file(tmp_path / "runs", str(packed), FRACTIONS, tmp_path / "cache") == before
        assert held_out_file(tmp_path / "runs", str(packed), FRACTIONS, tmp_path / "cache", by_camera) != before


def test_what_an_earlier_version_remembered_in_the_cache_is_taken_over(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", FEW)
    before = held_out(prepared(tmp_path))
    old = tmp_path / "cache" / "splits" / f"{key_of(str(tmp_path / 'data'), FRACTIONS)}.npy"
    old.parent.mkdir()
    (remembered,) = (tmp_path / "runs" / HELD_OUT).iterdir()
    shutil.move(remembered, old)
    write_folder(tmp_path / "data", MANY)
    assert before <= held_out(prepared(tmp_path))


def test_what_an_earlier_version_remembered_is_named_where_it_is_damaged(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", FEW)
    old = tmp_path / "cache" / "splits" / f"{key_of(str(tmp_path / 'data'), FRACTIONS)}.npy"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"no array")
    with pytest.raises(BadData, match=rf"{old}, which remembers what was held out, is damaged"):
        prepared(tmp_path)
    old.unlink()
    assert held_out(prepared(tmp_path))


@pytest.mark.parametrize(
    "settings",
    [
        {"bn_bias_lr_scale": 64.0, "decay_params": "all", "augmentation": {"pca_noise": 0.1}},
        {"shift_rate": 64.0, "decayed": "all", "augmentation": {"colour": 0.1}},
    ],
    ids=["today", "an earlier version"],
)
def test_a_run_that_was_killed_is_found_whatever_its_settings_were_called(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    run = tmp_path / "toy-20261101-120000"
    run.mkdir()
    (run / CONFIG).write_text(json.dumps({"model": "toy", "settings": settings}))
    wanted = {"bn_bias_lr_scale": 64.0, "decay_params": "all", "augmentation": {"pca_noise": 0.1}}
    with claim_run(tmp_path, "toy", {"model": "toy", "settings": wanted}) as claimed:
        assert claimed == run
