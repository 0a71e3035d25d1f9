"""A bundle in 8 bits: as right as before or refused, and taken by the service's engine where it is there."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from models.bundle import INT8, BrokenBundle, read_manifest, verify
from models.preprocessing import InputSpec
from service.backends import load
from tests.conftest import Training
from tests.images import shades, write_folder
from training.cli import main
from training.index import BadData
from training.quantize import LosesTooMuch, quantize
from training.run import Data, prepare

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def published(digits_training: Training) -> Path:
    return digits_training.exports / "digits" / "1"


@pytest.fixture(scope="module")
def digits(digits_training: Training, published: Path) -> Data:
    return prepare("digits", read_manifest(published).input_spec, digits_training.cache, QUIET)


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
    assert manifest.metrics["int8"]["num_images"] == len(digits.split.val)
    assert manifest.metrics["int8"]["accuracy"] > 0.97
    assert manifest.metrics["test"] == read_manifest(published).metrics["test"]
    assert (quantized / "saved_model.pb").read_bytes() == (published / "saved_model.pb").read_bytes()


def test_the_service_takes_8_bits_where_they_are_and_answers_nearly_as_before(quantized, published, digits):
    images = np.asarray(digits.decoded.images[digits.split.test[:32]])
    in_8_bits = load(quantized, "openvino", "auto", max_batch_size=32)
    assert in_8_bits.backend.precision == "int8"
    exact = load(quantized, "openvino", "float32", max_batch_size=32)
    assert exact.backend.precision == "float32"
    answers, expected = in_8_bits.backend.infer(images), exact.backend.infer(images)
    assert answers.shape == (32, len(exact.manifest.class_names))
    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9
    assert np.abs(answers - expected).max() > 1e-6  # it is another network
    without = load(published, "openvino", "auto", max_batch_size=1)
    assert without.backend.precision != "int8"
    with pytest.raises(ValueError, match="not in int8"):
        load(published, "openvino", "int8", max_batch_size=1)


def test_what_loses_too_much_is_refused_and_leaves_nothing_behind(published, digits, tmp_path):
    with pytest.raises(LosesTooMuch, match="of 268 validation images in int8"):
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
    data = prepare(str(root), InputSpec(32, 32, 1), tmp_path / "cache", QUIET)
    with pytest.raises(BadData, match="The model has no class 'cat'"):
        quantize(published, data, tmp_path / "bundle", max_drop=0.01, console=QUIET)


def test_the_command_refuses_to_overwrite(quantized, published):
    result = CliRunner().invoke(main, ["quantize", str(published), "--data", "digits", "-o", str(quantized)])
    assert result.exit_code == 1
    assert "is there already" in result.output
