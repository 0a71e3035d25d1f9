"""A run directory holds all that it takes to see what was done and to do it again."""

import io
import json
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from models.bundle.manifest import MANIFEST, REPORT, read_manifest
from models.bundle.preprocessing import InputSpec, decode_image
from tests.conftest import Training
from tests.images import shades, write_folder
from tests.training.predictions import read_predictions
from training.config.settings import Settings
from training.data import dataset
from training.data.dataset import Data, find_images, prepare, resolve
from training.data.index import BadData
from training.evaluate.calibration import softmax
from training.evaluate.metrics import measure
from training.evaluate.saved_model import load_signatures
from training.fit.options import FitOptions
from training.fit.state import CHECKPOINT
from training.network.bundle_weights import load_network
from training.runs import bundle_contents
from training.runs.bundle_contents import choose_golden
from training.runs.directory import claim_run, finish
from training.runs.pipeline import train_and_export

SPEC = InputSpec(8, 8, 1)
QUIET = Console(file=io.StringIO())


class Enough(Exception):
    """Raised in place of training."""


@pytest.fixture
def data(tmp_path: Path) -> Data:
    root = write_folder(tmp_path / "data", {"cat": shades(40, 0, 100), "dog": shades(40, 100, 255)})
    return prepare(find_images(str(root), tmp_path / "cache"), SPEC, tmp_path / "cache", QUIET)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_digits_are_learnt(digits_training: Training) -> None:
    test = read_manifest(digits_training.run / "bundle").metrics["test"]
    assert test["accuracy"] >= 0.985
    assert f"test accuracy {test['accuracy']:.2%} on {test['num_images']} images" in digits_training.output


def test_a_run_directory_has_what_the_documentation_says_and_nothing_else(digits_training: Training) -> None:
    assert {path.name for path in digits_training.run.iterdir()} == {
        *(
            "config.json",
            "history.json",
            "metrics.json",
            "predictions.csv",
            "audit.json",
            "best.weights.npz",
            "report.html",
            "bundle",
        )
    }


def test_the_configuration_says_what_it_takes_to_do_it_again(digits_training: Training) -> None:
    config = read(digits_training.run / "config.json")
    assert config["model"] == "digits"
    assert config["settings"]["architecture"] == "lenet5"
    assert config["settings"]["dropout"] == 0.3
    assert config["settings"]["augmentation"]["flip"] is False
    assert config["input_spec"] == {"height": 32, "width": 32, "channels": 1, "resize": "crop"}
    assert sum(config["data"][side] for side in ("train", "val", "test")) == 1797
    assert len(config["data"]["fingerprint"]) == 64
    assert {"python", "keras", "numpy", "pillow"} <= config["libraries"].keys()


def test_the_bundle_carries_the_lineage_and_the_figures_of_its_run(digits_training: Training) -> None:
    run, manifest = digits_training.run, read_manifest(digits_training.run / "bundle")
    config, metrics, history = (read(run / f"{name}.json") for name in ("config", "metrics", "history"))
    assert manifest.metrics["test"] == metrics
    assert manifest.lineage["data"] == config["data"]
    assert manifest.lineage["settings"] == {**config["settings"], "precision": "float32"}  # what `auto` came to
    assert manifest.drawing is not None
    assert len({len(values) for values in history.values()}) == 1
    own, published = (path.read_text() for path in (run / "report.html", run / "bundle" / REPORT))
    assert "Most similar in training" in own
    assert "Most similar in training" not in published  # nobody has asked for thumbnails
    assert "where the network looked" in published


def test_every_figure_of_a_run_can_be_computed_from_its_table_again(digits_training: Training) -> None:
    metrics = read(digits_training.run / "metrics.json")
    again = measure(read_predictions(digits_training.run / "predictions.csv"))
    assert again == {name: value for name, value in metrics.items() if name in again}
    assert metrics.keys() - again.keys() == {"temperature", "calibration", "uncalibrated_error"}


def test_two_runs_of_one_configuration_at_once_do_not_share_a_directory(tmp_path: Path) -> None:
    with ExitStack() as stack:
        claimed = {stack.enter_context(claim_run(tmp_path / "runs", "toy", {"seed": 0})) for _ in range(5)}
    assert len(claimed) == 5
    with pytest.raises(ValueError, match="No model can be called"), claim_run(tmp_path, "../evil", {}):
        pass


def test_a_run_that_was_cut_off_is_taken_up_by_the_same_configuration_alone(tmp_path: Path) -> None:
    def claimed(*, fresh: bool = False, **config: int) -> Path:
        with claim_run(tmp_path, "toy", config, fresh=fresh) as run:
            return run

    cut_off = claimed(seed=0)
    (cut_off / "bundle").mkdir()
    (cut_off / ".checkpoint-abc.npz").touch()
    assert claimed(seed=1) != cut_off
    assert claimed(seed=0, fresh=True) != cut_off
    assert claimed(seed=0) == cut_off
    assert {path.name for path in cut_off.iterdir()} == {"config.json"}
    (cut_off / "bundle" / MANIFEST).parent.mkdir(parents=True)
    (cut_off / "bundle" / MANIFEST).touch()  # it is sealed
    (cut_off / CHECKPOINT).touch()  # and not yet published
    assert claimed(seed=0) == cut_off
    assert (cut_off / "bundle" / MANIFEST).exists(), "a sealed bundle was thrown away"
    finish(cut_off)
    assert claimed(seed=0) != cut_off


def test_a_run_whose_bundle_is_sealed_is_not_trained_again(data: Data, tmp_path: Path) -> None:
    settings = Settings("lenet5", learning_rate=0.05, epochs=1)
    first = train_and_export(tmp_path, "toy", data, settings, FitOptions(), origin={}, sources={})
    before = (tmp_path / "bundle" / MANIFEST).stat()
    assert train_and_export(tmp_path, "toy", data, settings, FitOptions(), origin={}, sources={}) == first
    assert (tmp_path / "bundle" / MANIFEST).stat() == before


def test_a_named_data_set_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/images", tmp_path) == tmp_path.resolve() / "images"
    monkeypatch.setattr(dataset, "folder_of", lambda name, cache: cache / name)
    assert resolve("digits", tmp_path) == tmp_path / "digits"


def test_a_model_whose_answers_are_mirrored_answers_alike_for_both_sides(data: Data, tmp_path: Path) -> None:
    settings = Settings("lenet5", learning_rate=0.05, epochs=1, mirror_answers=True)
    train_and_export(tmp_path, "toy", data, settings, FitOptions(), origin={}, sources={})
    images = np.random.default_rng(0).integers(0, 256, (9, *SPEC.shape), np.uint8)
    answers, of_mirrored = (
        load_signatures(tmp_path / "bundle")["serving_default"](views) for views in (images, images[:, :, ::-1])
    )
    np.testing.assert_allclose(answers, of_mirrored, atol=1e-6)
    network, manifest = load_network(tmp_path / "bundle")
    alone = [network.predict_on_batch(views) for views in (images, images[:, :, ::-1])]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    np.testing.assert_allclose(answers, softmax((alone[0] + alone[1]) / 2, manifest.temperature), atol=1e-5)


def test_what_is_odd_about_the_data_is_written_down_before_training_begins(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_fit(*_: object, **__: object) -> None:
        raise Enough

    monkeypatch.setattr("training.runs.pipeline.fit", no_fit)
    unreadable = {"cat/text.jpg": "no image", os.fsdecode(b"dog/caf\xe9\n.jpg"): "cut short"}
    found = replace(data.audit, unreadable=unreadable)
    with pytest.raises(Enough):
        train_and_export(
            tmp_path,
            "toy",
            replace(data, audit=found),
            Settings("lenet5", learning_rate=0.1),
            FitOptions(),
            origin={},
            sources={},
        )
    assert read(tmp_path / "audit.json")["unreadable"] == unreadable


def test_golden_images_are_test_images_of_as_many_classes_as_there_is_room_for(data: Data) -> None:
    golden = choose_golden(data)
    test = {
        (data.root / data.decoded.paths[row]).read_bytes(): int(data.decoded.labels[row]) for row in data.split.test
    }
    assert [test[encoded] for encoded in golden] == [0, 1]


def test_large_photographs_make_small_golden_images_with_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of 4 MB photographs are common, and were refused when their network had been trained."""
    classes = {"cat": shades(20, 0, 100, side=64), "dog": shades(20, 100, 255, side=64)}  # some 3 kB each
    found = find_images(str(write_folder(tmp_path / "data", classes)), tmp_path / "cache")
    data = prepare(found, SPEC, tmp_path / "cache", QUIET)
    monkeypatch.setattr(bundle_contents, "MAX_GOLDEN_BYTES", 1000)
    golden = choose_golden(data)
    assert all(len(encoded) <= 1000 for encoded in golden)
    seen = {data.decoded.images[row].tobytes() for row in data.split.test}
    assert len(golden) == 2
    assert all(decode_image(encoded, SPEC).tobytes() in seen for encoded in golden)


def test_data_are_found_decoded_and_split(data: Data) -> None:
    assert data.decoded.images.shape == (80, *SPEC.shape)
    assert len(np.concatenate([data.split.train, data.split.val, data.split.test])) == 80
    with pytest.raises(BadData, match="is no folder"):
        find_images(str(data.root / "nowhere"), data.root)
