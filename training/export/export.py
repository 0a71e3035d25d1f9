"""A trained network -> a verified bundle, ready to publish.

The caller's process writes what it knows (weights, golden images, expected answers); `python -m training.export.export`
writes the SavedModel, always on TensorFlow whatever trained the weights; `python -m training.export.parity` loads it in
a process that has never seen the network, and only if that gives the same answers is the bundle sealed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import GOLDEN, IMAGES, Manifest, write_manifest
from models.bundle.preprocessing import InputSpec, decode_image
from models.errors import Failed
from models.files.durable import write_array
from models.files.typed import read_json

WEIGHTS = "export.weights.h5"
ANSWERS = "answers.npz"
REQUEST = "export.json"
PARITY = "parity.json"
WARMUP = Path("assets.extra/tf_serving_warmup_requests")


class ExportFailed(Failed):
    """The bundle was not made, or does not answer as the trained network does."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the trained network says, in float32: uint8 images (N, H, W, C), probabilities (N, num_classes)."""

    images: np.ndarray
    probabilities: np.ndarray


def export(
    run: Path,
    *,
    model: Any,
    classify: Callable[[np.ndarray], np.ndarray],
    manifest: Manifest,
    golden: Sequence[bytes],
    answers: Answers,
    report: str,
    images: np.ndarray,
) -> Path:
    """Write `run/bundle`, check it in fresh processes, seal it; returns its path.

    Args:
        model: the float32 network, whose weights are exported.
        classify: uint8 images (B, H, W, C) -> probabilities (B, num_classes), as the exported model must answer.
        golden: a few encoded images; the answers to them are stored beside them.
        answers: on which the exported model must agree.
        report: the bundle's report.html.
        images: IMAGE (N,): what the network was made with.

    Raises:
        ExportFailed: writing failed, or the exported model gives other answers.
    """
    bundle = run / "bundle"
    (bundle / GOLDEN).mkdir(parents=True)
    (bundle / "assets.extra" / "report.html").write_text(report, encoding="utf-8")
    write_array(bundle / IMAGES, images)
    write_golden(bundle, classify, manifest, golden)
    model.save_weights(run / WEIGHTS)
    np.savez(run / ANSWERS, images=answers.images, probabilities=answers.probabilities)
    (run / REQUEST).write_text(json.dumps(manifest.to_json(), ensure_ascii=False), encoding="utf-8")
    in_fresh_process("training.export.export", run)
    in_fresh_process("training.export.parity", run)
    parity = read_json(run / PARITY, dict[str, Any])
    write_manifest(bundle, replace(manifest, metrics={**manifest.metrics, "parity": parity}))
    for name in (WEIGHTS, ANSWERS, REQUEST, PARITY):
        (run / name).unlink()
    return bundle


def write_golden(
    bundle: Path, classify: Callable[[np.ndarray], np.ndarray], manifest: Manifest, golden: Sequence[bytes]
) -> None:
    probabilities = classify(np.stack([decode_image(data, manifest.input_spec) for data in golden]))
    rows = []
    for i, (data, row) in enumerate(zip(golden, probabilities, strict=True)):
        (bundle / GOLDEN / str(i)).write_bytes(data)
        rows.append({"file": str(i), "probabilities": row.tolist()})
    (bundle / GOLDEN / "probabilities.json").write_text(json.dumps(rows))


def in_fresh_process(module: str, run: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-m", module, str(run)], env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        (run / "export.log").write_text(done.stdout + done.stderr)
        raise ExportFailed(f"{module} failed: {last} (all of it: {run / 'export.log'})")


# From here on in a process of its own, on TensorFlow


def write_saved_model(run: Path) -> None:
    """`run/export.json` and the weights -> SavedModel with `serving_default` and `serving_bytes`."""
    import tensorflow as tf
    from keras.export import ExportArchive

    from models.networks.registry import build
    from training.network.build import with_mirror_images

    manifest = read_json(run / REQUEST, Manifest)
    spec = manifest.input_spec
    model = build(manifest.architecture, input_shape=spec.shape, num_classes=len(manifest.class_names))
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
    """`models.bundle.preprocessing.decode_image` as TensorFlow can say it, for third parties; our service never uses it.

    It knows no EXIF orientation, drops transparency, and reads JPEG, PNG, GIF and BMP only.
    """
    import tensorflow as tf

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
    import tensorflow as tf

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
