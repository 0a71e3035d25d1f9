"""What a path is as a model, and what of it is copied."""

import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import pytest

from models.errors import UserError
from tests.training.foreign.models import members, network, saved, zipped
from training.foreign import sources
from training.foreign.model_check import check_model
from training.foreign.sources import KERAS_PARTS, Source, copy_model
from training.sources.archive import BadArchive


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one network in each form."""
    folder, model = tmp_path_factory.mktemp("made"), network()
    saved(folder / "model.keras", model)
    saved(folder / "model.h5", model)
    model.export(folder / "exported", verbose=False)
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def saved_model_files(made: Path) -> dict[str, bytes]:
    exported = made / "exported"
    return {name: (exported / name).read_bytes() for name in files_in(exported)}


def test_a_keras_file_is_written_anew_from_its_three_parts(made: Path, target: Path) -> None:
    copy = copy_model(made / "model.keras", target)
    assert copy == Source("keras", target / "model.keras")
    assert files_in(target) == {"model.keras"}
    kept, given = members(copy.path), members(made / "model.keras")
    assert list(kept) == list(KERAS_PARTS)
    assert kept["model.weights.h5"] == given["model.weights.h5"]
    assert b'"compile_config": {' in given["config.json"]
    assert b"compile_config" not in kept["config.json"]
    assert check_model(copy.path)
    assert keras.models.load_model(copy.path, compile=False).count_params() == network().count_params()


def test_a_layer_that_is_not_accepted_is_found_at_once(tmp_path: Path, target: Path) -> None:
    path = saved(tmp_path / "model.keras", network(keras.layers.Lambda(lambda x: x * 2, name="twice")))
    with pytest.raises(UserError, match=r"The layer 'twice' of the model \(Lambda\)"):
        copy_model(path, target)
    assert files_in(target) == set()


def test_an_hdf5_file_is_one_whatever_it_is_called(made: Path, tmp_path: Path, target: Path) -> None:
    """Keras 2 wrote HDF5 under any name."""
    other = tmp_path / "model.keras"
    other.write_bytes((made / "model.h5").read_bytes())
    copy = copy_model(other, target)
    assert copy == Source("h5", target / "model.h5")
    assert copy.path.read_bytes() == other.read_bytes()


def test_of_a_saved_model_only_the_files_that_tensorflow_reads_are_copied(made: Path, target: Path) -> None:
    folder = made / "exported"
    for name in ("notes.py", "variables.txt"):
        (folder / name).write_text("more")
    os.mkfifo(folder / "pipe")
    copy = copy_model(folder, target)
    assert copy.kind == "saved_model"
    assert copy.left_out == ("notes.py", "pipe", "variables.txt")
    for name in copy.left_out:
        (folder / name).unlink()
    assert files_in(copy.path) == files_in(folder)


def test_a_link_in_a_saved_model_is_refused(made: Path, tmp_path: Path, target: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes((made / "exported" / "saved_model.pb").read_bytes())
    (folder / "variables").mkdir()
    (folder / "variables" / "variables.index").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match=r"variables\.index is a link"):
        copy_model(folder, target)
    (folder / "variables" / "variables.index").unlink()
    (folder / "variables").rmdir()
    (folder / "variables").symlink_to("/etc")
    (target / "again").mkdir()
    with pytest.raises(UserError, match="Copy the model without links"):
        copy_model(folder, target / "again")


def test_exports_of_teachable_machine_come_with_their_labels(made: Path, tmp_path: Path, target: Path) -> None:
    labels = b"0 cat\n1 dog\n"
    of_keras = {"keras_model.h5": (made / "model.h5").read_bytes(), "labels.txt": labels}
    copy = copy_model(zipped(tmp_path / "converted_keras.zip", of_keras), target)
    assert copy == Source("h5", target / "model.h5", target / "labels.txt")
    assert (target / "labels.txt").read_bytes() == labels
    (target / "second").mkdir()
    model = {f"model.savedmodel/{name}": data for name, data in saved_model_files(made).items()}
    copy = copy_model(zipped(tmp_path / "converted_savedmodel.zip", {**model, "labels.txt": labels}), target / "second")
    assert copy == Source("saved_model", target / "second" / "model", target / "second" / "labels.txt")
    assert files_in(target / "second") == {"labels.txt", *(f"model/{name}" for name in saved_model_files(made))}


def test_a_model_may_be_packed_as_tar_or_lie_in_a_folder(made: Path, tmp_path: Path, target: Path) -> None:
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as written:
        written.add(made / "model.keras", "pets/1/model.keras")
    assert copy_model(tmp_path / "model.tar.gz", target).kind == "keras"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "best.h5").write_bytes((made / "model.h5").read_bytes())
    (tmp_path / "folder" / "last.weights.h5").write_bytes(b"only weights")
    (target / "second").mkdir()
    assert copy_model(tmp_path / "folder", target / "second").kind == "h5"


def test_several_models_are_not_chosen_from(made: Path, target: Path) -> None:
    with pytest.raises(UserError, match=r"has 3 models in it \(.*model\.keras\)\. Give one of them"):
        copy_model(made, target)


@pytest.mark.parametrize("name", ["train.py", "weights.pkl", "assets/words.txt"])
def test_a_keras_file_with_anything_else_in_it_is_refused(made: Path, tmp_path: Path, target: Path, name: str) -> None:
    path = zipped(tmp_path / "more.keras", {**members(made / "model.keras"), name: b"import os"})
    with pytest.raises(UserError, match=rf"more\.keras has '{name}' in it, which is no part of a network"):
        copy_model(path, target)
    assert files_in(target) == set()


def test_a_keras_file_with_a_part_missing_is_refused(made: Path, tmp_path: Path, target: Path) -> None:
    content = members(made / "model.keras")
    del content[KERAS_PARTS[1]]
    with pytest.raises(UserError, match=r"it has no config\.json"):
        copy_model(zipped(tmp_path / "less.keras", content), target)


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil"])
def test_no_archive_writes_outside_of_the_folder(made: Path, tmp_path: Path, target: Path, name: str) -> None:
    for path in (tmp_path / "more.keras", tmp_path / "more.zip"):
        with pytest.raises(BadArchive, match="would be written outside"):
            copy_model(zipped(path, {**members(made / "model.keras"), name: b""}), target)
    assert files_in(target) == set()


def test_what_would_grow_too_much_is_refused(
    made: Path, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "OF_MODELS", replace(sources.OF_MODELS, always_allowed=1_000_000))
    bomb = {**members(made / "model.keras"), "config.json": bytes(50_000_000)}
    path = zipped(tmp_path / "bomb.keras", bomb, zipfile.ZIP_DEFLATED)
    with pytest.raises(
        BadArchive, match="more than 200 times as large when unpacked, which archives of models are not"
    ):
        copy_model(path, target)
    assert files_in(target) == set()


REFUSED = {
    "model.onnx": "is an ONNX model.*pip install onnx2tf",
    "model.tflite": "is a TensorFlow Lite model.*Import the model that it was made from",
    "model.pt": "striate import-weights NETWORK --file",
    "model.pth": "striate import-weights NETWORK --file",
    "model.safetensors": "striate import-weights NETWORK --file",
    "model.json": "is a model of TensorFlow.js.*tensorflowjs_converter",
    "frozen_graph.pb": "is a single graph without a signature",
    "saved_model.pb": "is a part of a SavedModel. Give its folder",
    "saved_model.pbtxt": "is a graph written as text",
    "model.pkl": "is a Python pickle",
    "model.h5": "is damaged",
    "model.keras": "is damaged",
    "cat.jpg": r"is no model that is known here\. Accepted are a \.keras file",
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_with_what_to_do(tmp_path: Path, target: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"something that is no such file")
    with pytest.raises(UserError, match=REFUSED[name]):
        copy_model(tmp_path / name, target)


def test_they_are_recognized_in_archives_and_by_their_content(tmp_path: Path, target: Path) -> None:
    lite = b"\x1c\0\0\0TFL3" + bytes(100)
    with pytest.raises(UserError, match="is a TensorFlow Lite model"):
        copy_model(zipped(tmp_path / "converted_tflite.zip", {"model_unquant": lite, "labels.txt": b"0 cat"}), target)
    with pytest.raises(UserError, match="import-weights"):
        copy_model(zipped(tmp_path / "weights.bin", {"archive/data.pkl": b""}), target)
    with pytest.raises(UserError, match=r"pictures\.zip has no model in it\. Accepted are"):
        copy_model(zipped(tmp_path / "pictures.zip", {"cat.jpg": b"", "labels.json": b""}), target)


def test_what_is_no_file_is_refused(tmp_path: Path, target: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "missing"):
        with pytest.raises(UserError, match="is neither a file nor a folder"):
            copy_model(path, target)
