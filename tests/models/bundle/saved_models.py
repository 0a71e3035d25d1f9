"""SavedModels that TensorFlow itself writes, at tiny sizes, and their protocol buffers, for tests that change them."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

SIZE = (8, 8, 3)
NUM_CLASSES = 3
tf1 = tf.compat.v1


def save(folder: Path, within: Callable[[Any], Any] = tf.identity) -> Path:
    """A classifier with a table of labels; `within` is applied to its probabilities."""
    module = tf.Module()
    module.weights = tf.Variable(tf.zeros((192, NUM_CLASSES)))
    values = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), tf.constant(["cat", "dog", "fox"]))
    module.table = tf.lookup.StaticHashTable(values, "?")

    @tf.function(input_signature=[tf.TensorSpec((None, *SIZE), tf.uint8, "images")])
    def classify(images: Any) -> dict[str, Any]:
        flat = tf.reshape(tf.cast(images, tf.float32), (-1, 192))
        probabilities = within(tf.nn.softmax(flat @ module.weights))
        return {"probabilities": probabilities, "labels": module.table.lookup(tf.argmax(probabilities, -1))}

    tf.saved_model.save(module, str(folder), {"serving_default": classify})
    return folder


def save_tf1(folder: Path, within: Callable[[Any], Any] = tf.identity) -> Path:
    """The same as a session of TensorFlow 1 leaves it, with variables by reference, one of them local."""
    with tf.Graph().as_default(), tf1.Session() as session, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = tf1.placeholder(tf.uint8, (None, *SIZE), name="images")
        weights = tf1.get_variable("w", (192, 3), initializer=tf1.zeros_initializer(), use_resource=False)
        tf1.get_variable("seen", (), collections=["local_variables"], initializer=tf1.zeros_initializer())
        values = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), tf.constant(["cat", "dog", "fox"]))
        table = tf.lookup.StaticHashTable(values, "?")
        probabilities = within(tf.nn.softmax(tf.reshape(tf.cast(images, tf.float32), (-1, 192)) @ weights))
        outputs = {"probabilities": probabilities, "labels": table.lookup(tf.argmax(probabilities, -1))}
        session.run(tf1.global_variables_initializer())
        tables = tf1.tables_initializer()
        tf1.saved_model.simple_save(session, str(folder), {"images": images}, outputs, legacy_init_op=tables)
    return folder


def read(folder: Path) -> Any:
    """The file as TensorFlow reads it."""
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    return saved_model


def write(folder: Path, saved_model: Any) -> Path:
    (folder / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return folder


def add_node(nodes: Any, name: str, op: str, *inputs: str, calls: str = "") -> None:
    node = nodes.add()
    node.name, node.op = name, op
    node.input.extend(inputs)
    if calls:
        node.attr["f"].func.name = calls


def add_saving(nodes: Any, canary: Path, name: str = "evil", output: str = "") -> None:
    """Constants, and a SaveV2 that writes them to `canary`; `output` is how the place refers to a node's output."""
    for part, value in (("file", str(canary)), ("names", ["t"]), ("slices", [""]), ("value", 1.0)):
        add_node(nodes, f"{name}/{part}", "Const")
        tensor = tf.make_tensor_proto(value)
        nodes[-1].attr["value"].tensor.CopyFrom(tensor)
        nodes[-1].attr["dtype"].type = tensor.dtype
    add_node(nodes, name, "SaveV2", *(f"{name}/{part}{output}" for part in ("file", "names", "slices", "value")))
    nodes[-1].attr["dtypes"].list.type.append(1)
