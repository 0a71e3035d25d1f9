"""Small models as people have them, written by Keras, and changed copies of them."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
from keras import layers

WEIGHTS = "model.weights.h5"


def network(*more: layers.Layer) -> keras.Model:
    """Images 8x8x3 -> 2 classes, as a graph of layers, a nested network, arithmetic and a slice of a tensor."""
    images = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(2, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(0.1))(x)
    inner = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(2, 1), layers.BatchNormalization()], name="inner")
    inner.compile("adam", "mse")
    x = inner(x)
    for layer in more:
        x = layer(x)
    x = layers.GlobalAveragePooling2D(dtype="mixed_float16")(x)
    return keras.Model(images, layers.Dense(2, activation=keras.activations.softmax, dtype="float32")(x))


def with_operations() -> keras.Model:
    images = keras.Input((8, 8, 3))
    x = keras.ops.relu(images * 2 + 1)[:, 1:, ...]
    return keras.Model(images, layers.Dense(2)(layers.Flatten()(x)))


def saved(path: Path, model: keras.Model) -> Path:
    model.save(path)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(path: Path, content: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as written:
        for name, data in content.items():
            written.writestr(name, data)
    return path


def config_of(path: Path) -> dict[str, Any]:
    """The configuration in a `.keras` or `.h5` file."""
    if path.suffix == ".keras":
        return dict(json.loads(members(path)["config.json"]))
    with h5py.File(path, "r") as file:
        return dict(json.loads(file.attrs["model_config"]))


def with_config(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same `.keras` or `.h5` file with a changed configuration."""
    config = config_of(path)
    change(config)
    if path.suffix == ".keras":
        return zipped(path, {**members(path), "config.json": json.dumps(config).encode()})
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    return path


def with_hdf5(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """The same `.keras` or `.h5` file with changed weights."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            change(file)
        return path
    content = members(path)
    weights = path.with_name(WEIGHTS)
    weights.write_bytes(content[WEIGHTS])
    with h5py.File(weights, "r+") as file:
        change(file)
    zipped(path, {**content, WEIGHTS: weights.read_bytes()})
    weights.unlink()
    return path
