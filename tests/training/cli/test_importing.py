"""`striate import`: somebody's model becomes a bundle that is served like ours."""

import errno
import os
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result

from models.bundle.manifest import IMPORTED, read_golden, read_manifest, verify
from models.bundle.preprocessing import decode_image
from tests.images import encode
from tests.training.importing.foreign_models import CLASSES, SIDE, keras_model, logits_of, saved_model, shades
from training.cli.app import main
from training.evaluate.evaluate import evaluate


def imported(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras_model().save(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for i, (image, label) in enumerate(zip(*shades(45), strict=True)):
        (root / CLASSES[label].upper()).mkdir(exist_ok=True)
        (root / CLASSES[label].upper() / f"{i}.png").write_bytes(encode(image))
    (root / "DARK" / "note.jpg").write_text("no image")
    return root


def test_enough_labelled_images_give_an_imported_model_an_8_bit_form_unless_it_is_off(
    model: Path, labels: Path, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    for i, (image, label) in enumerate(zip(*shades(900), strict=True)):
        (root / CLASSES[label]).mkdir(exist_ok=True, parents=True)
        (root / CLASSES[label] / f"{i}.png").write_bytes(encode(image))
    command = (model, "--name", "bright", "--labels", labels, "--images", root, "--runs", tmp_path / "runs")
    said = imported(*command)
    assert said.exit_code == 0, said.output
    (run,) = (tmp_path / "runs").iterdir()
    assert [path.name for path in run.iterdir()] == ["bundle"]
    about = verify(run / "bundle").metrics["int8"]
    assert (about["num_images"], about["num_compared"]) == (600, 2400)
    assert about["agreement"] >= 0.99
    assert about["accuracy"] > 0.9
    assert "int8 gives the same class as float32 for " in said.output
    shutil.rmtree(run)
    assert "8-bit" not in imported(*command, "--int8", "off").output


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("".join(f"{i} {name}\n" for i, name in enumerate(CLASSES)))
    return path


def test_a_model_its_labels_and_a_few_images_make_a_bundle_that_is_published(
    model: Path, labels: Path, images: Path, tmp_path: Path
) -> None:
    said = imported(
        *(model, "--name", "bright", "--labels", labels, "--images", images, "--publish"),
        *("--runs", tmp_path / "runs", "--exports", tmp_path / "exports"),
    )
    assert said.exit_code == 0, said.output
    assert "output predictions: 3 classes, as probabilities (measured)" in said.output
    assert "scaling signed: the best of 10 on 45 labelled images" in said.output
    bundle = tmp_path / "exports" / "bright" / "1"
    manifest = verify(bundle)
    assert (manifest.architecture, manifest.class_names, manifest.task) == (IMPORTED, CLASSES, "single_label")
    assert manifest.engines == ("openvino", "tensorflow")
    told = manifest.lineage["import"]
    assert (told["source"], told["scaling"], len(told["sha256"])) == ("model.keras", "signed", 64)
    assert told["libraries"].keys() == {"keras", "tensorflow"}
    assert manifest.metrics["labelled"]["accuracy"] == 1
    assert manifest.metrics["parity"]["logits_relative_difference"] < 1e-4
    assert manifest.reference is not None
    (run,) = (tmp_path / "runs").iterdir()
    assert [path.name for path in run.iterdir()] == ["bundle"]
    assert "python -m training" not in said.output


def test_its_golden_answers_are_those_of_the_model_itself(
    model: Path, labels: Path, images: Path, tmp_path: Path
) -> None:
    runs = os.path.relpath(tmp_path)  # as most people give it, and as the default is
    said = imported(model, "--name", "a", "--labels", labels, "--images", images, "--runs", runs)
    assert said.exit_code == 0, said.output
    (bundle,) = tmp_path.glob("*/bundle")
    golden = read_golden(bundle)
    assert len(golden) == 3
    network = keras.saving.load_model(model)
    for data, expected in golden:
        pixels = decode_image(data, read_manifest(bundle).input_spec).astype(np.float32) / 127.5 - 1
        np.testing.assert_allclose(network.predict_on_batch(pixels[None])[0], expected, atol=1e-5)


def test_it_is_evaluated_like_any_bundle(model: Path, labels: Path, images: Path, tmp_path: Path) -> None:
    from rich.console import Console

    said = imported(model, "--name", "a", "--labels", labels, "--scaling", "signed", "--runs", tmp_path)
    assert said.exit_code == 0, said.output
    (bundle,) = tmp_path.glob("*/bundle")
    renamed = tmp_path / "renamed"
    for name in CLASSES:
        shutil.copytree(images / name.upper(), renamed / name)
    answers, _ = evaluate(bundle, str(renamed), tmp_path / "cache", Console(quiet=True))
    assert (answers.probabilities.argmax(axis=1) == answers.labels).all()


def test_without_images_a_model_that_tells_nothing_is_a_question_with_the_commands(model: Path, tmp_path: Path) -> None:
    said = imported(model, "--name", "a", "--size", "16x16", "--runs", tmp_path)
    assert said.exit_code == 1
    assert "does not say how its images were scaled" in said.output
    assert f"striate import {model} --name a --size 16x16 --images FOLDER" in said.output
    assert f"striate import {model} --name a --size 16x16 --scaling caffe" in said.output
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_run_behind(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.importing.bundle.copy_model", full)
    said = imported(model, "--name", "bright", "--scaling", "signed", "--runs", tmp_path)
    assert said.exit_code == 1
    assert "No space left on device" in said.output
    assert list(tmp_path.iterdir()) == []


def test_classes_in_another_order_are_no_better_than_chance_and_that_is_said(
    model: Path, images: Path, tmp_path: Path
) -> None:
    said = imported(model, "--name", "a", "--images", images, "--runs", tmp_path)
    assert said.exit_code == 1
    assert "None is better than chance: are the classes those of the model, and in its order" in said.output


def test_a_wrong_number_of_labels_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    said = imported(
        *(model, "--name", "a", "--labels", tmp_path / "two.txt", "--scaling", "signed", "--runs", tmp_path / "r")
    )
    assert said.exit_code == 1
    assert "two.txt names 2 classes (cat, dog), and the model answers with 3 numbers" in said.output


def test_a_teachable_machine_zip_brings_its_labels(labels: Path, tmp_path: Path) -> None:
    network = keras.Sequential([keras_model()])
    network.save(tmp_path / "keras_model.h5")
    with zipfile.ZipFile(tmp_path / "converted_keras.zip", "w") as written:
        written.write(tmp_path / "keras_model.h5", "keras_model.h5")
        written.write(labels, "labels.txt")
    said = imported(tmp_path / "converted_keras.zip", "--name", "a", "--scaling", "signed", "--runs", tmp_path / "r")
    assert said.exit_code == 0, said.output
    (bundle,) = (tmp_path / "r").glob("*/bundle")
    assert read_manifest(bundle).class_names == CLASSES


def sigmoids(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"scores": tf.sigmoid(logits_of(images))}


def test_a_model_of_several_labels_says_so_in_its_manifest(labels: Path, tmp_path: Path) -> None:
    saved_model(tmp_path / "model", sigmoids, tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32))
    said = imported(
        *(tmp_path / "model", "--name", "a", "--labels", labels, "--scaling", "signed", "--runs", tmp_path / "r")
    )
    assert said.exit_code == 0, said.output
    (bundle,) = (tmp_path / "r").glob("*/bundle")
    assert (verify(bundle).task, verify(bundle).threshold) == ("multi_label", 0.5)


def writes(canary: Path) -> object:
    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.io.write_file(str(canary), "was here")]):
            return {"logits": logits_of(images)}

    return call


def test_a_model_that_writes_a_file_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    saved_model(tmp_path / "model", writes(canary), tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32))  # type: ignore[arg-type]
    said = imported(tmp_path / "model", "--name", "a", "--scaling", "signed", "--runs", tmp_path / "r")
    assert said.exit_code == 1
    assert "WriteFile" in said.output
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no model that is known"),
        (b"\x89HDF\r\n\x1a\n", "damaged"),
        (b"PK\x03\x04", "is no model that is known"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    said = imported(tmp_path / "model.bin", "--name", "a", "--runs", tmp_path / "r")
    assert said.exit_code == 1
    assert says in said.output
