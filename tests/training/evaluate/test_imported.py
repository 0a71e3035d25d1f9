"""What the commands of training do with a model that somebody else made: what they can, and else they say why not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import training.cli.fit  # noqa: F401 - its commands
from models.bundle.manifest import NotForThisModel, read_manifest, verify, write_manifest
from models.store.publish import publish
from service.engine.loading import load
from tests.bundles import make_bundle
from tests.conftest import Training
from tests.images import shades, write_folder
from tests.imported import as_imported
from training.cli.app import main
from training.evaluate.trained_on import images_trained_on
from training.export.quantize import check_kind
from training.promotion.publish_check import reason_to_refuse


@pytest.fixture
def imported(digits_training: Training, tmp_path: Path) -> Path:
    """A bundle of digits whose manifest says that it was imported."""
    return as_imported(digits_training.exports / "digits" / "1", tmp_path / "digits")


def with_labels(bundle: Path) -> Path:
    write_manifest(bundle, replace(read_manifest(bundle), task="multi_label"))
    return bundle


def run(*arguments: object, status: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == status, done.output
    return done


def test_it_is_evaluated_by_its_savedmodel_alone(imported: Path, digits_training: Training, tmp_path: Path) -> None:
    data = digits_training.cache / "datasets" / "digits"
    figures = json.loads(run("evaluate", imported, "--data", data, "--cache", tmp_path / "cache", "--json").stdout)
    assert figures["accuracy"] > 0.9
    assert figures["trained_on"] is None
    assert figures["unknown_ancestors"] == []


def test_training_does_not_start_from_it(imported: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"0": shades(9, 0, 99), "1": shades(9, 100, 255)})
    places = ["--cache", tmp_path / "cache", "--runs", tmp_path]
    said = run("fit", "--data", folder, "--name", "mine", "--from", imported, *places, status=1).output
    assert "digits was imported, and its network is not one that Striate can train: start from published" in said


def test_its_layers_are_not_known(imported: Path, tmp_path: Path) -> None:
    said = run("filters", imported, "-o", tmp_path / "filters.png", status=1).output
    assert "digits was imported, and its network is not one of Striate's" in said


def test_a_part_of_the_images_calibrates_it_in_8_bits_and_the_others_are_compared(
    imported: Path, digits_training: Training, tmp_path: Path
) -> None:
    data = digits_training.cache / "datasets" / "digits"
    done = run("quantize", imported, "--data", data, "-o", tmp_path / "int8", "--cache", tmp_path / "cache")
    assert "calibrating on 300 of 1,797 images" in done.output
    assert "digits was imported: it may have been trained on some of these images" in done.output
    about = verify(tmp_path / "int8").metrics["int8"]
    assert 1400 < about["num_images"] < 1500
    assert about["accuracy"] > 0.95
    loaded = load(tmp_path / "int8", "openvino", "int8", max_batch_size=1)
    assert loaded.backend.precision == "int8"


def test_two_images_that_differ_are_needed_for_8_bits(imported: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", dict.fromkeys(("0", "1"), list(shades(1, 0, 99)) * 2))
    said = run("quantize", imported, "--data", folder, "--cache", tmp_path / "cache", status=1).output
    assert "There are no two images that differ" in said


def test_8_bits_are_for_openvino(imported: Path) -> None:
    only_tensorflow = replace(read_manifest(imported), engines=("tensorflow",))
    with pytest.raises(NotForThisModel, match="8 bits are for OpenVINO, which does not compute digits"):
        check_kind(only_tensorflow)


@pytest.mark.parametrize("command", ["evaluate", "quantize"])
def test_several_labels_an_image_are_refused_in_a_sentence(imported: Path, tmp_path: Path, command: str) -> None:
    said = run(command, with_labels(imported), "--data", tmp_path, "--cache", tmp_path / "cache", status=1).output
    assert f"{command} is for models that give an image one label, and digits gives it any number of labels" in said


def test_the_check_before_publishing_does_not_compare_several_labels(tmp_path: Path) -> None:
    exports, one = tmp_path / "exports", make_bundle(tmp_path / "one")
    many = with_labels(make_bundle(tmp_path / "many"))
    assert "and this model gives it any number of labels" in reason_to_refuse(many, exports)
    publish(many, exports)
    assert "and the live version 1 gives it any number of labels" in reason_to_refuse(one, exports)


def test_what_it_was_trained_on_elsewhere_keeps_no_later_version_from_being_judged(tmp_path: Path) -> None:
    exports, bundle = tmp_path / "exports", make_bundle(tmp_path / "bundle")
    write_manifest(bundle, replace(read_manifest(bundle), architecture="imported"))
    publish(bundle, exports)
    _, unknown = images_trained_on(exports / "toy" / "1")
    assert unknown == []


def test_explain_says_that_it_was_imported(imported: Path, tmp_path: Path) -> None:
    publish(with_labels(imported), tmp_path / "exports")
    said = run("explain", "digits", "--exports", tmp_path / "exports").output
    assert "imported, 10 classes, of which an image may have any number" in said
    assert "imported with its weights" in said
    assert "None" not in said
