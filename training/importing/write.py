"""Write the SavedModel of a bundle around somebody's model, in a confined process; `messages` has its files."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras.export import ExportArchive

from models.files.typed import read_json
from training.export.export import ANSWERS as EXPECTED
from training.export.export import WARMUP
from training.export.saved_model import decode_tensor, write_warmup_requests
from training.foreign.loading import Foreign, load
from training.importing.examine import outputs_of
from training.importing.messages import CHECKED, GRAPH, ORDER, Order
from training.preprocessing.outputs import OutputFacts, probabilities_of
from training.preprocessing.scalings import pixel_scaling


def write(folder: Path) -> None:
    order = read_json(folder / ORDER, Order)
    foreign = load(folder / order.model, order.signature)
    images = np.load(folder / CHECKED)
    answers = outputs_of(foreign, images, order.scaling)[order.output]
    np.savez(folder / EXPECTED, images=images, probabilities=probabilities_of(answers, order.numbers))
    write_saved_model(folder / GRAPH, foreign, order)
    (folder / GRAPH / WARMUP).parent.mkdir()
    write_warmup_requests(folder / GRAPH, order.manifest)


def write_saved_model(bundle: Path, foreign: Foreign, order: Order) -> None:
    spec = order.manifest.input_spec
    scale = pixel_scaling(order.scaling, spec.channels)

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        if foreign.input.layout == "encoded":
            given = tf.map_fn(tf.io.encode_png, images, fn_output_signature=tf.string)
        else:
            given = scale(tf.cast(images, tf.float32))
        outputs = foreign.call_any_batch(given)
        found = probabilities(tf.cast(outputs[order.output], tf.float32), order.numbers)
        return {"probabilities": tf.ensure_shape(found, (None, order.numbers.num_classes))}

    def classify_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        output = tf.TensorSpec(spec.shape, tf.uint8)
        return classify(tf.map_fn(lambda data: decode_tensor(data, spec), image_bytes, fn_output_signature=output))

    images = tf.TensorSpec((None, *spec.shape), tf.uint8, name="images")
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    signatures = {
        "serving_default": tf.function(classify, input_signature=[images]),
        "serving_bytes": tf.function(classify_bytes, input_signature=[image_bytes]),
    }
    if foreign.is_keras:
        archive = ExportArchive()
        archive.track(foreign.model)
        for name, function in signatures.items():
            archive.add_endpoint(name, function)
        archive.write_out(str(bundle), verbose=False)
        return
    module = tf.Module()
    module.model = foreign.model
    module.anchor = tf.Variable(0.0)  # OpenVINO reads no SavedModel without a variable
    tf.saved_model.save(module, str(bundle), signatures=signatures)


def probabilities(outputs: Any, about: OutputFacts) -> Any:
    """The same as `training.preprocessing.outputs.probabilities_of`, as a graph."""
    if about.numbers == "logits":
        return tf.nn.softmax(outputs)
    if about.numbers == "one logit":
        outputs = tf.sigmoid(outputs)
    return tf.concat([1 - outputs, outputs], axis=1) if about.numbers.startswith("one ") else outputs


def main(arguments: list[str]) -> None:
    write(Path(arguments[0]))
