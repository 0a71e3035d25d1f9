"""Training that starts from weights keeps the scaling with which they were trained; without it they are worthless."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from models.bundle.manifest import MANIFEST, Manifest, read_manifest
from models.networks.registry import build
from tests.images import shades, write_folder
from training.cli.app import main
from training.config.settings import Settings
from training.data.dataset import find_images
from training.evaluate.saved_model import load_signatures
from training.network.bundle_weights import load_network
from training.runs.directory import CONFIG, claim_run
from training.runs.plan import plan_of_table
from training.weights.bundle import make_bundle
from training.weights.pretrained import Pretrained

FLAGS = ["--epochs", "1", "--batch-size", "16", "--precision", "float32", "--progress", "quiet"]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small network whose weights others have trained with ImageNet's scaling."""
    keras.utils.set_random_seed(0)
    network = build("lenet5", input_shape=(32, 32, 3), num_classes=2, scaling="imagenet")
    found = Pretrained(network, "imagenet", ("one", "other"), {"network": "lenet5", "file": "mine"})
    return make_bundle(found, "start", tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images, of which a network that starts from nothing would take one channel."""
    classes = {"dark": shades(30, 0, 100), "light": shades(30, 120, 255, seed=1)}
    return write_folder(tmp_path_factory.mktemp("data") / "data", classes)


def fit(folder: Path, start: Path, place: Path, *flags: str) -> Result:
    places = ["--runs", place / "runs", "--cache", place / "cache", "--exports", place / "exports"]
    arguments = ["--data", folder, "--name", "next", "--from", start, *places, *FLAGS, *flags]
    return CliRunner().invoke(main, ["fit", *map(str, arguments)])


@pytest.mark.parametrize("flags", [[], ["--freeze-epochs", "1"], ["--train", "head"]], ids=["all", "frozen", "head"])
def test_a_model_that_starts_from_weights_has_their_scaling(
    folder: Path, start: Path, tmp_path: Path, flags: list[str]
) -> None:
    result = fit(folder, start, tmp_path, *flags)
    assert result.exit_code == 0, result.output
    (bundle,) = tmp_path.glob("runs/next-*/bundle")
    network, manifest = load_network(bundle)
    assert (manifest.scaling, manifest.input_spec.channels) == ("imagenet", 3)
    assert json.loads((bundle.parent / "config.json").read_text())["settings"]["scaling"] == "imagenet"
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    logits = np.asarray(network(images, training=False)) / manifest.temperature
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(load_signatures(bundle)["serving_default"](images), expected, atol=1e-5)


def test_the_next_generation_keeps_it_in_a_retraining_job_too(folder: Path, start: Path, tmp_path: Path) -> None:
    fit(folder, start, tmp_path)
    (bundle,) = tmp_path.glob("runs/next-*/bundle")
    plan = plan_of_table({}, find_images(str(folder), tmp_path / "cache"), bundle)
    assert plan.settings_for(40).scaling == "imagenet"
    assert plan.sources(plan.settings)["scaling"] == "the model that training starts from"


def test_one_channel_for_weights_of_three_is_refused_before_anything_is_decoded(
    folder: Path, start: Path, tmp_path: Path
) -> None:
    result = fit(folder, start, tmp_path, "--channels", "1")
    assert result.exit_code == 1
    assert "scaling imagenet, which is for three channels, and the images have 1: take --channels 3" in result.output
    assert not (tmp_path / "runs").exists()


def test_without_a_start_nothing_has_changed(folder: Path, tmp_path: Path) -> None:
    plan = plan_of_table({"model": "lenet5"}, find_images(str(folder), tmp_path / "cache"), None)
    assert plan.settings.scaling == "signed"
    assert plan.sources(plan.settings)["scaling"] == "default"


def test_an_older_bundle_that_names_no_scaling_has_that_of_its_time(start: Path) -> None:
    document = json.loads((start / MANIFEST).read_text())
    assert Manifest.from_json(document) == read_manifest(start)
    del document["scaling"]
    assert Manifest.from_json(document).scaling == "signed"


def test_a_run_of_an_older_version_which_knew_no_scaling_is_gone_on_with(tmp_path: Path) -> None:
    run, settings = tmp_path / "toy-20261101-120000", Settings("lenet5", learning_rate=0.1).to_json()
    run.mkdir()
    older = {name: value for name, value in settings.items() if name != "scaling"}
    (run / CONFIG).write_text(json.dumps({"model": "toy", "settings": older}))
    with claim_run(tmp_path, "toy", {"model": "toy", "settings": settings}) as claimed:
        assert claimed == run
    with claim_run(tmp_path, "toy", {"model": "toy", "settings": {**settings, "scaling": "imagenet"}}) as claimed:
        assert claimed != run
