"""A bundle in 8 bits: as right as before or refused, and taken by the service's engine where it is there."""

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from models.bundle.manifest import (
    IMAGES,
    INT8,
    TESTED_ON,
    TRAINED_ON,
    VALIDATED_ON,
    BrokenBundle,
    read_images,
    read_manifest,
    verify,
    write_manifest,
)
from models.files.durable import write_array
from service.engine.loading import load
from tests.conftest import Training
from tests.images import shades, write_folder
from training.cli.app import main
from training.data.index import BadData
from training.evaluate.labelled import Labelled, read_labelled
from training.export.int8 import NUM_COMPARED, views_of
from training.export.quantize import AccuracyLossTooLarge, quantize, rows_to_use

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def published(digits_training: Training) -> Path:
    return digits_training.exports / "digits" / "1"


@pytest.fixture(scope="module")
def digits(digits_training: Training, published: Path) -> Labelled:
    return labelled(published, digits_training.cache)


def labelled(bundle: Path, cache: Path, data: str = "digits") -> Labelled:
    return read_labelled(bundle, read_manifest(bundle), data, cache, QUIET)


@pytest.fixture(scope="module")
def quantized(digits_training: Training, published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command that the documentation names."""
    target = tmp_path_factory.mktemp("int8") / "bundle"
    cache = ["--cache", str(digits_training.cache)]
    result = CliRunner().invoke(main, ["quantize", str(published), "--data", "digits", "-o", str(target), *cache])
    assert result.exit_code == 0, result.output
    assert f"8-bit bundle: {target}" in result.output
    return target


def test_the_bundle_verifies_says_how_right_it_is_and_still_has_the_savedmodel(quantized, published, digits):
    manifest = verify(quantized)
    assert {INT8 / name for name in ("model.xml", "model.bin", "probabilities.json")} <= {
        Path(name) for name in manifest.files
    }
    assert manifest.metrics["int8"]["num_images"] == (digits.sides == VALIDATED_ON).sum()
    assert manifest.metrics["int8"]["accuracy"] > 0.97
    assert manifest.metrics["int8"]["num_compared"] >= NUM_COMPARED
    assert manifest.metrics["int8"]["agreement"] > 0.97
    assert manifest.metrics["int8"]["first_layers_kept"] == 0
    assert manifest.metrics["test"] == read_manifest(published).metrics["test"]
    assert (quantized / "saved_model.pb").read_bytes() == (published / "saved_model.pb").read_bytes()


def test_a_form_that_is_asked_for_is_served_and_answers_nearly_as_before(quantized, published, digits, tmp_path):
    images = np.asarray(digits.decoded.images[digits.sides == TESTED_ON][:32])
    in_8_bits = load(quantized, "openvino", "int8", max_batch_size=32)
    assert in_8_bits.backend.precision == "int8"
    exact = load(quantized, "openvino", "float32", max_batch_size=32)
    assert exact.backend.precision == "float32"
    assert exact.reason == "as SERVICE_PRECISION asks"
    answers, expected = in_8_bits.backend.infer(images), exact.backend.infer(images)
    assert answers.shape == (32, len(exact.manifest.class_names))
    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9
    assert np.abs(answers - expected).max() > 1e-6  # it is another network
    without = without_form(published, tmp_path / "without")
    with pytest.raises(ValueError, match="not in int8"):
        load(without, "openvino", "int8", max_batch_size=1)


def test_every_form_is_measured_and_the_reason_says_how_long_each_takes(quantized):
    found = load(quantized, "openvino", "auto", max_batch_size=8)
    assert {"int8", "float32"} <= set(re.findall(r"(int8|bfloat16|float32) [\d.e-]+", found.reason))
    assert found.reason.startswith("fastest here, or as fast and more exact; ms an image: ")


def without_form(bundle: Path, copy: Path) -> Path:
    shutil.copytree(bundle, copy)
    shutil.rmtree(copy / INT8)
    write_manifest(copy, read_manifest(copy))
    return copy


def test_where_8_bits_change_the_answers_too_often_layers_stay_in_higher_precision(
    published, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr("training.export.int8.ENOUGH", 1.1)
    counts = {"num_compared": 1, "first_kept": (0, 2, 99)}
    found = quantize(published, digits, tmp_path / "bundle", max_drop=1.0, console=QUIET, **counts)
    assert found.first_kept in (0, 2)  # a network of five layers has no 99
    kept = replace(found, first_kept=2)
    assert "the first 2 of 5 layers and the last layer stay in higher precision" in kept.about_classes
    assert "stay" not in replace(found, first_kept=0).about_classes


def test_held_out_images_come_first_and_then_changed_copies_of_them(digits):
    rows = np.flatnonzero(digits.sides == VALIDATED_ON)[:30]
    views = np.concatenate(list(views_of(digits.decoded.images, rows, NUM_COMPARED, flip=False)))
    assert len(views) == -(-NUM_COMPARED // 30) * 30
    assert np.array_equal(views[:30], digits.decoded.images[rows])
    changed = np.abs(views[30:60].astype(float) - views[:30]).mean(axis=(1, 2, 3))
    assert (changed > 0).all()
    assert changed.mean() < 40


def test_what_loses_too_much_is_refused_and_leaves_nothing_behind(published, digits, tmp_path):
    with pytest.raises(AccuracyLossTooLarge, match="of 268 held-out images in int8"):
        quantize(published, digits, tmp_path / "bundle", max_drop=-1.0, console=QUIET)
    assert not (tmp_path / "bundle").exists()


def test_an_8_bit_network_that_was_altered_is_not_served(quantized, tmp_path):
    altered = shutil.copytree(quantized, tmp_path / "bundle")
    with (altered / INT8 / "model.bin").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BrokenBundle, match=r"altered assets.extra/int8/model.bin"):
        load(altered, "openvino", "auto", max_batch_size=1)


def test_images_of_other_classes_are_refused(published, tmp_path):
    root = write_folder(tmp_path / "data", {"cat": shades(20, 0, 100), "dog": shades(20, 100, 255)})
    with pytest.raises(BadData, match="The model has no class 'cat'"):
        labelled(published, tmp_path / "cache", str(root))


def with_images(bundle: Path, copy: Path, images: np.ndarray | None) -> Path:
    """A sealed copy that says it was made with other images; None: that does not say."""
    shutil.copytree(bundle, copy)
    if images is None:
        (copy / IMAGES).unlink()
    else:
        write_array(copy / IMAGES, images)
    write_manifest(copy, read_manifest(copy))
    return copy


def test_it_is_calibrated_and_compared_on_the_sides_that_the_bundle_names(digits_training, published, tmp_path):
    """However little `fit --val 5` held out: nothing that was trained on compares."""
    images, rng = read_images(published), np.random.default_rng(0)
    images["side"] = rng.choice([TRAINED_ON, VALIDATED_ON, TESTED_ON], len(images), p=[0.9, 0.05, 0.05])
    unknown, known = images[:40], images[40:]
    bundle = with_images(published, tmp_path / "bundle", known)
    found = labelled(bundle, digits_training.cache)
    hashes = found.decoded.hashes()
    trained_on, held_out = rows_to_use(bundle, found)
    assert set(hashes[trained_on]) == set(known["hash"][known["side"] == TRAINED_ON])
    allowed = set(known["hash"][known["side"] == VALIDATED_ON]) | set(unknown["hash"])
    assert set(hashes[held_out]) == allowed - set(hashes[trained_on])
    assert len(held_out) > 40


def test_without_images_of_a_kind_it_says_which_are_needed(digits_training, published, tmp_path):
    images = read_images(published)
    for side, complaint in ((TRAINED_ON, "nobody could say what 8 bits cost"), (VALIDATED_ON, "on none of these")):
        images["side"] = side
        bundle = with_images(published, tmp_path / str(side), images)
        with pytest.raises(BadData, match=complaint):
            rows_to_use(bundle, labelled(bundle, digits_training.cache))
    older = with_images(published, tmp_path / "older", None)
    with pytest.raises(BadData, match="does not say which images it was trained on"):
        rows_to_use(older, labelled(older, digits_training.cache))


def test_the_command_refuses_to_overwrite(quantized, published):
    result = CliRunner().invoke(main, ["quantize", str(published), "--data", "digits", "-o", str(quantized)])
    assert result.exit_code == 1
    assert "is there already" in result.output
