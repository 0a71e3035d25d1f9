"""Writes the SavedModels of test_look.py into the folder that is its argument, by TensorFlow and Keras themselves."""

import sys
from pathlib import Path
from typing import Any

import models  # noqa: F401 - without it Keras would write into the home folder

import keras  # isort: skip
import tensorflow as tf  # isort: skip


class Mixed(tf.Module):
    """Two inputs and two outputs: a weighted sum, and the parity of a whole number."""

    def __init__(self, weight: float) -> None:
        self.weight = tf.Variable(weight)

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, "x"), tf.TensorSpec((None,), tf.int32, "n")])
    def answer(self, x: Any, n: Any) -> dict[str, Any]:
        return {"total": tf.reduce_sum(x, 1) * self.weight, "odd": tf.equal(n % 2, 1)}


class Texts(tf.Module):
    """Texts in and out; `raw_bytes` is what came."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
    def answer(self, text: Any) -> dict[str, Any]:
        return {"shouted": tf.strings.upper(text), "raw_bytes": text}


class Strict(tf.Module):
    """Refuses at run time what its signature allows: the product of x and y of sizes that differ."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name) for name in ("x", "y")])
    def answer(self, x: Any, y: Any) -> dict[str, Any]:
        return {"product": x * y}


class Hostile(tf.Module):
    """Writes a file when it is asked."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    @tf.function(input_signature=[tf.TensorSpec((), tf.float32, "x")])
    def answer(self, x: Any) -> dict[str, Any]:
        tf.io.write_file(self.canary, "written")
        return {"y": x}


def save(module: Any, folder: Path) -> None:
    tf.saved_model.save(module, str(folder), {"serving_default": module.answer})


def main(home: Path) -> None:
    save(Mixed(1.0), home / "versions" / "2")
    save(Mixed(10.0), home / "versions" / "10")
    save(Texts(), home / "texts")
    save(Strict(), home / "strict")
    save(Hostile(str(home / "canary")), home / "hostile")
    network = keras.Sequential([keras.Input((3,), name="features"), keras.layers.Dense(2, "softmax", name="scores")])
    network.export(home / "Keras export", verbose=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
