"""Which `.keras` and `.h5` files are loaded: those whose classes are Keras's own, and whose numbers are in the file."""

import base64
import json
import marshal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.applications.convnext import LayerScale
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from models.errors import UserError
from tests.training.foreign.models import config_of, members, network, saved, with_config, with_hdf5, with_operations
from training.confinement.confinement import run_confined
from training.foreign import keras_config
from training.foreign.keras_config import read_config
from training.foreign.model_check import check_model, write_config
from training.foreign.sources import copy_model


@keras.saving.register_keras_serializable(package="theirs")
class Doubling(layers.Layer):
    def call(self, x: Any) -> Any:
        return x * 2


@pytest.fixture(scope="module", params=[".keras", ".h5"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("written") / f"model{request.param}"
    return saved(path, network()).read_bytes()


@pytest.fixture
def model(written: bytes, tmp_path: Path) -> Path:
    path = tmp_path / ("model.keras" if written.startswith(b"PK") else "model.h5")
    path.write_bytes(written)
    return path


@pytest.fixture(scope="module")
def keras_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return saved(tmp_path_factory.mktemp("written") / "model.keras", network()).read_bytes()


@pytest.fixture
def keras_file(keras_bytes: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "model.keras"
    path.write_bytes(keras_bytes)
    return path


def layer_of(config: dict[str, Any], class_name: str) -> dict[str, Any]:
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == class_name)


def test_a_network_of_built_in_layers_is_accepted(model: Path) -> None:
    assert check_model(model)["class_name"] == "Functional"


def test_so_are_operations_on_tensors(tmp_path: Path) -> None:
    assert check_model(saved(tmp_path / "model.keras", with_operations()))["class_name"] == "Functional"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_networks_that_people_fine_tune_are_accepted(tmp_path: Path, suffix: str) -> None:
    base = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), include_top=False, alpha=0.35)
    augment = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.Rescaling(1 / 127.5, -1)]
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(3, "softmax")]
    check_model(saved(tmp_path / f"model{suffix}", keras.Sequential([keras.Input((32, 32, 3)), *augment, base, *head])))


@pytest.mark.parametrize(
    ("suffix", "package"),
    [
        (".keras", "keras.src.engine"),
        (".keras", "tf_keras.src.engine"),
        (".h5", "keras.src.engine"),
        (".h5", "tf_keras.src.engine"),
        (".h5", "keras.engine"),
        (".h5", None),  # of Keras 2.12 and before, as Teachable Machine has it
    ],
)
def test_a_network_in_a_network_of_keras_2_is_loaded(tmp_path: Path, suffix: str, package: str | None) -> None:
    """Keras 3 finds no such module, takes no list of axes, no groups and no shape of another layer's input, and reads
    a list of one output as a network that gives a list.
    """
    base = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), include_top=False, alpha=0.35)
    whole = keras.Sequential([base, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    path = saved(tmp_path / f"model{suffix}", whole)

    def as_keras_2(config: dict[str, Any]) -> None:
        inner = layer_of(config, "Functional")
        for ends in ("input_layers", "output_layers"):
            inner["config"][ends] = [inner["config"][ends]]
        if package:
            inner.update(module=f"{package}.functional", registered_name="Functional")
        for layer in inner["config"]["layers"]:
            if package:
                layer.update(module="keras.layers", registered_name=None)
            if layer["class_name"] == "BatchNormalization":
                layer["config"]["axis"] = [3]
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"].update(groups=1)
                if package:
                    layer["config"].update(batch_input_shape=[None, 8, 8, 3])

    path = with_config(path, as_keras_2)
    assert str(package) in str(config_of(path))
    assert keras.saving.load_model(as_copied(path), compile=False).count_params() > 400_000


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_layers_that_only_keras_applications_has_are_keras_s_own(tmp_path: Path, suffix: str) -> None:
    images = keras.Input((8, 8, 3))
    x = CustomScaleLayer(0.25, name="summed")([images, LayerScale(0.5, 3, name="scaled")(images)])
    loaded = keras.saving.load_model(as_copied(saved(tmp_path / f"model{suffix}", keras.Model(images, x))))
    assert (loaded.get_layer("scaled").init_values, loaded.get_layer("summed").scale) == (0.5, 0.25)


def as_copied(path: Path) -> Path:
    """The file as `training.foreign.sources` and the confined process make it."""
    folder = path.with_name("copied")
    folder.mkdir()
    copied = copy_model(path, folder).path
    write_config(copied, check_model(copied))
    return copied


def test_a_custom_loss_does_no_harm_since_nothing_is_compiled(tmp_path: Path) -> None:
    def mine(truth: Any, answer: Any) -> Any:
        return keras.ops.mean(truth - answer)

    trained = network()
    trained.compile("adam", mine)
    path = saved(tmp_path / "model.keras", trained)
    assert b"mine" in members(path)["config.json"]
    assert "mine" not in str(check_model(path))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_is_refused_by_its_name(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"model{suffix}", network(layers.Lambda(lambda x: x * 2, name="twice")))
    with pytest.raises(
        UserError, match=r"^The layer 'twice' of the model \(Lambda\) has Python code of its own.*export"
    ):
        check_model(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_layer_of_somebody_else_is_refused(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"model{suffix}", network(Doubling(name="double")))
    with pytest.raises(UserError, match=r"^The layer 'double' of the model \(.*Doubling\) is no class of Keras 3\."):
        check_model(path)


@pytest.mark.parametrize(
    ("module", "class_name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("keras.utils", "get_file"),
        ("keras.src.utils.file_utils", "get_file"),
        ("keras.layers", "deserialize"),
        ("keras.models", "load_model"),
        ("keras.layers.evil", "Dense"),
        ("kerasevil", "Dense"),
        ("keras.src.ops.numpy.os", "Add"),
        (None, "Dense"),
        ("keras.layers", "TFSMLayer"),
        ("keras.layers", "TorchModuleWrapper"),
        ("keras.layers", "JaxLayer"),
        ("keras.layers", "StringLookup"),
        ("anything", "Lambda"),
        ("keras.src.applications.convnext", "imagenet_utils"),
        ("keras.src.applications.resnet", "LayerScale"),
    ],
)
def test_other_modules_and_classes_are_refused(keras_file: Path, module: str | None, class_name: str) -> None:
    path = with_config(
        keras_file, lambda config: layer_of(config, "Conv2D").update(module=module, class_name=class_name)
    )
    with pytest.raises(UserError, match=rf"^The layer 'conv2d.*' of the model \(.*{class_name}\)"):
        check_model(path)


@pytest.mark.parametrize(
    ("module", "function"), [("os", "system"), ("builtins", "eval"), ("keras.utils", "get_file"), (None, "relu")]
)
def test_functions_that_are_not_of_keras_are_refused(keras_file: Path, module: str | None, function: str) -> None:
    called = {"module": module, "class_name": "function", "config": function, "registered_name": function}
    path = with_config(keras_file, lambda config: layer_of(config, "Conv2D")["config"].update(activation=called))
    with pytest.raises(UserError, match=rf"{function}\) is a function that is not one of Keras's own"):
        check_model(path)


def test_a_built_in_function_is_accepted(keras_file: Path) -> None:
    called = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"}
    check_model(with_config(keras_file, lambda config: layer_of(config, "Conv2D")["config"].update(activation=called)))


def test_code_that_hides_in_an_argument_is_found(keras_file: Path) -> None:
    """Keras turns any object in a configuration into what it describes, however deep it lies."""
    code = base64.b64encode(marshal.dumps(compile("print('run')", "", "exec"))).decode()
    hidden = {"deep": [{"class_name": "__lambda__", "config": {"value": [code, None, None]}}]}
    path = with_config(keras_file, lambda config: layer_of(config, "Conv2D")["config"].update(extra=hidden))
    with pytest.raises(UserError, match=r"\(__lambda__\) has Python code of its own"):
        check_model(path)


def test_a_registered_name_cannot_stand_in_for_a_built_in_class(keras_file: Path) -> None:
    path = with_config(keras_file, lambda config: layer_of(config, "Conv2D").update(registered_name="theirs>Doubling"))
    with pytest.raises(UserError, match="is no class of Keras"):
        check_model(path)


def test_a_configuration_that_is_nested_too_deeply_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("[" * 100_000, '{"config": {"a": ' + "[" * 300 + "]" * 300 + "}}"):
        with pytest.raises(UserError, match="nested too deeply"):
            read_config(text)
    monkeypatch.setattr(keras_config, "MOST_VALUES", 1000)
    with pytest.raises(UserError, match="more than 1,000 values"):
        read_config(json.dumps({"config": [0] * 2000}))
    monkeypatch.setattr(keras_config, "LONGEST_JSON", 100)
    with pytest.raises(UserError, match="at most 100 are read"):
        read_config(" " * 101)


@pytest.mark.parametrize("text", ["", "null", "[]", '{"config": 3}', "\0", b"\xff\xfe\xff", '{"a": NaN', '"\\ud800"'])
def test_a_damaged_configuration_is_one_error(text: str | bytes) -> None:
    with pytest.raises(UserError, match="Save the model again"):
        read_config(text)


def external_link(file: h5py.File) -> None:
    file["stolen"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["again"] = h5py.SoftLink("/again")


def group_in_itself(file: h5py.File) -> None:
    group = file.create_group("around")
    group["around"] = group


def numbers_elsewhere(file: h5py.File) -> None:
    file.create_dataset("stolen", (16,), "u1", external=[("/etc/passwd", 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (4,))
    file.create_virtual_dataset("virtual", layout)


def texts(file: h5py.File) -> None:
    file.create_dataset("texts", data=["a", "b"], dtype=h5py.string_dtype())


def references(file: h5py.File) -> None:
    file.create_dataset("references", data=[file.ref], dtype=h5py.ref_dtype)


def named_type(file: h5py.File) -> None:
    file["type"] = np.dtype("f8")


def huge(file: h5py.File) -> None:
    """50 GB, of which no byte is in the file."""
    file.create_dataset("huge", (50, 250_000_000), "f4", chunks=(1, 1_000_000))


HAZARDS = {
    external_link: r"'/stolen', which is a link",
    soft_link: r"'/again', which is a link",
    group_in_itself: r"'/around/around' of the model's file is there twice",
    numbers_elsewhere: r"numbers of '/stolen' lie in another file",
    virtual: r"numbers of '/virtual' lie in another file",
    texts: r"'/texts', which is no array of numbers",
    references: r"'/references', which is no array of numbers",
    named_type: r"'/type', which is no array of numbers",
    huge: r"arrays would take 50,000,.* bytes or more",
}


@pytest.mark.parametrize("hazard", HAZARDS, ids=lambda hazard: hazard.__name__)
def test_weights_that_are_not_numbers_in_the_file_are_refused(model: Path, hazard: Callable[[h5py.File], None]) -> None:
    with_hdf5(model, hazard)
    with pytest.raises(UserError, match=HAZARDS[hazard]):
        check_model(model)


def test_a_file_of_weights_is_told_from_a_model(tmp_path: Path) -> None:
    path = tmp_path / "only.weights.h5"
    network().save_weights(path)
    with pytest.raises(UserError, match=r"has weights and no network.*import-weights NETWORK --file FILE"):
        check_model(path)


def test_a_file_that_was_cut_off_is_damaged(model: Path) -> None:
    model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    with pytest.raises(UserError, match="The model is damaged"):
        check_model(model)


def test_it_runs_in_the_confined_process(keras_file: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    answer = run_confined(
        "training.foreign.model_check",
        [str(keras_file)],
        folder=tmp_path / "folder",
        readable=[keras_file],
        seconds=60,
        memory_bytes=1 << 30,
    )
    assert answer.answer["class_name"] == "Functional"
    with_hdf5(keras_file, external_link)
    with pytest.raises(UserError, match="which is a link to another place"):
        run_confined(
            "training.foreign.model_check",
            [str(keras_file)],
            folder=tmp_path / "folder",
            readable=[keras_file],
            seconds=60,
            memory_bytes=1 << 30,
        )
