"""The SavedModel of a trained network: `python -m training.export.saved_model RUN` writes it, always on TensorFlow."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras.export import ExportArchive

from models.bundle.manifest import Manifest
from models.bundle.preprocessing import InputSpec
from models.files.typed import read_json
from models.networks.registry import build
from training.export.export import REQUEST, WARMUP, WEIGHTS
from training.network.build import with_mirror_images


def write_saved_model(run: Path) -> None:
    """`run/export.json` and the weights -> SavedModel with `serving_default` and `serving_bytes`."""

    manifest = read_json(run / REQUEST, Manifest)
    spec = manifest.input_spec
    model = build(
        manifest.architecture,
        input_shape=spec.shape,
        num_classes=len(manifest.class_names),
        scaling=manifest.scaling,
        multi_stage=manifest.multi_stage,
    )
    model.load_weights(run / WEIGHTS)
    answering = with_mirror_images(model) if manifest.mirrored else model

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.cast(answering(images, training=False), tf.float32)
        return {"probabilities": tf.nn.softmax(logits / manifest.temperature)}

    def classify_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        output = tf.TensorSpec(spec.shape, tf.uint8)
        return classify(tf.map_fn(lambda data: decode_tensor(data, spec), image_bytes, fn_output_signature=output))

    images = tf.TensorSpec((None, *spec.shape), tf.uint8, name="images")
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive = ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", tf.function(classify, input_signature=[images]))
    archive.add_endpoint("serving_bytes", tf.function(classify_bytes, input_signature=[image_bytes]))
    archive.write_out(str(run / "bundle"), verbose=False)
    write_warmup_requests(run / "bundle", manifest)


def decode_tensor(data: Any, spec: InputSpec) -> Any:
    """`models.bundle.preprocessing.decode_image` in TensorFlow, for third parties; our service never uses it.

    It knows no EXIF orientation, drops transparency, and reads JPEG, PNG, GIF and BMP only.
    """

    image = tf.io.decode_image(data, channels=spec.channels, expand_animations=False)
    image.set_shape((None, None, spec.channels))
    size = (spec.height, spec.width)
    if spec.resize == "crop":
        shape = tf.cast(tf.shape(image)[:2], tf.float32)
        cut = tf.cast(tf.round(tf.reduce_min(shape / size) * size), tf.int32)
        offset = (tf.shape(image)[:2] - cut) // 2
        image = image[offset[0] : offset[0] + cut[0], offset[1] : offset[1] + cut[1]]
    if spec.resize == "pad":
        image = tf.image.resize_with_pad(image, *size, antialias=True)
    else:
        image = tf.image.resize(image, size, antialias=True)
    image.set_shape(spec.shape)
    return tf.saturate_cast(tf.round(image), tf.uint8)


def write_warmup_requests(bundle: Path, manifest: Manifest) -> None:
    """One PredictionLog (tensorflow_serving/apis/prediction_log.proto) of one black image, as a TFRecord.

    Written field by field, since the package that has the message classes depends on the whole of TensorFlow
    with CUDA. The numbers are the fields': PredictionLog.predict_log 6, PredictLog.request 1,
    PredictRequest.model_spec 1 and .inputs 2 (a map: key 1, value 2), ModelSpec.name 1 and .signature_name 3.
    """

    images = tf.make_tensor_proto(np.zeros((1, *manifest.input_spec.shape), np.uint8)).SerializeToString()
    model_spec = message(1, manifest.model.encode()) + message(3, b"serving_default")
    request = message(1, model_spec) + message(2, message(1, b"images") + message(2, images))
    with tf.io.TFRecordWriter(str(bundle / WARMUP)) as records:
        records.write(message(6, message(1, request)))


def message(field: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field: tag, length as a varint, payload."""
    length, varint = len(payload), bytearray()
    while length >= 0x80:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([field << 3 | 2, *varint, length]) + payload


if __name__ == "__main__":
    write_saved_model(Path(sys.argv[1]))
