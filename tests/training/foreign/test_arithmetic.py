"""Arithmetic between layers is computed as it was meant, of Keras 2 and in `.h5` files of Keras 3."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from models.errors import UserError
from tests.training.foreign.models import saved
from training.foreign.arithmetic import OF_ONE, OF_TWO, operations_of
from training.foreign.keras_config import read_config
from training.foreign.model_check import check_model, write_config

X = np.arange(1.0, 7, dtype=np.float32).reshape(2, 3)


def keras_2(*calls: tuple[str, list[Any]], layer: dict[str, Any] | None = None) -> str:
    """The configuration of a network of three numbers, whose operations are calls of a function: (function, node)."""
    start = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 3], "dtype": "float32", "name": "x"}}
    nodes = [{**start, "name": "x", "inbound_nodes": []}, *([layer] if layer else [])]
    for i, (function, node) in enumerate(calls):
        name = f"tf/{i}"
        config = {"name": name, "trainable": True, "dtype": "float32", "function": function}
        about = {"class_name": "TFOpLambda", "config": config, "build_config": {"input_shape": [None, 3]}}
        nodes.append({**about, "name": name, "inbound_nodes": [node]})
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [[nodes[-1]["name"], 0, 0]]}
    whole = {"name": "model", "trainable": True, "layers": nodes, **ends}
    return json.dumps({"class_name": "Functional", "config": whole})


def computed(text: str) -> np.ndarray:
    found: np.ndarray = keras.Model.from_config(read_config(text)["config"]).predict_on_batch(X)
    return found


def call(first: object, **others: object) -> list[Any]:
    """A node, as Keras 2 wrote it."""
    start = ["_CONSTANT_VALUE", -1, first] if isinstance(first, float) else [first, 0, 0]
    return [*start, {**others, "name": None}]


def test_what_keras_2_wrote_as_functions_of_tensorflow_is_computed() -> None:
    text = keras_2(
        ("math.subtract", call(1.0, y=["x", 0, 0])),
        ("math.multiply", call("tf/0", y=2)),
        ("math.truediv", call("tf/1", y=4)),
        ("__operators__.add", call("tf/2", y=["x", 0, 0])),
        ("math.negative", call("tf/3")),
    )
    assert computed(text) == pytest.approx(-((1 - X) * 2 / 4 + X))


def test_layers_whose_names_have_slashes_are_found() -> None:
    layer = {"class_name": "ReLU", "config": {"name": "block/relu", "max_value": 4.0}, "name": "block/relu"}
    text = keras_2(
        ("__operators__.add", call("block/relu", y=0.5)), layer={**layer, "inbound_nodes": [[["x", 0, 0, {}]]]}
    )
    assert computed(text) == pytest.approx(np.minimum(X, 4) + 0.5)


@pytest.mark.parametrize(
    ("function", "node"),
    [
        ("io.read_file", call("x")),
        ("math.add", call("x", y=[1.0, 2.0, 3.0])),
        ("math.add", call("x")),
        ("nn.relu", call("x", y=1.0)),
        ("math.negative", [["x", 0, 0, {}]]),
        ("math.negative", "x"),
    ],
)
def test_other_calls_of_tensorflow_are_refused(function: str, node: list[Any]) -> None:
    with pytest.raises(UserError, match="is a call of TensorFlow, which Keras 2 wrote"):
        read_config(keras_2((function, node)))


@pytest.mark.parametrize("module", sorted({module for module, _ in (*OF_ONE.values(), *OF_TWO.values())}))
def test_the_operations_are_there(module: str) -> None:
    needed = {name for home, name in (*OF_ONE.values(), *OF_TWO.values()) if home == module}
    assert needed <= operations_of(module)


def test_operations_in_an_h5_file_are_not_taken_for_layers_of_the_same_name(tmp_path: Path) -> None:
    images = keras.Input((3,))
    x = layers.Dense(3)(images) * 3.0 + 1.0
    model = keras.Model(images, layers.Add()([x, images]) - keras.ops.relu(images))
    path = saved(tmp_path / "model.h5", model)
    write_config(path, check_model(path))
    loaded = keras.models.load_model(path, compile=False)
    assert loaded.predict_on_batch(X) == pytest.approx(model.predict_on_batch(X))
