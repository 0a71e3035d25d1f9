"""Networks of keras.applications and two in Hugging Face's manner, saved as Keras and TensorFlow save them.

`python -m benchmarks.others.keras_models NAME FOLDER`; FOLDER becomes what `benchmarks.others.made` says.
"""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from benchmarks.others.fitted import fit
from benchmarks.others.made import MADE, PICTURES, Form, Made, write_answers
from benchmarks.others.pictures import KINDS
from training.preprocessing.scalings import pixel_scaling

SIDE = 96  # pixels
WITH_PICTURES = ("--images", f"{{}}/{PICTURES}")
# The scaling of each network, by keras.applications' documentation; "none" where its first layers scale.
APPLICATIONS = {
    **dict.fromkeys(("MobileNet", "MobileNetV2", "NASNetMobile", "Xception"), "signed"),
    **dict.fromkeys(("MobileNetV3Small", "MobileNetV3Large"), "none"),
    **dict.fromkeys(("EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3"), "none"),
    **dict.fromkeys(("EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2S"), "none"),
    **dict.fromkeys(("DenseNet121", "DenseNet169", "DenseNet201"), "imagenet"),
    **dict.fromkeys(("ResNet50V2", "ResNet101V2", "InceptionV3"), "signed"),
    **dict.fromkeys(("ResNet50", "ResNet101", "VGG16", "VGG19"), "caffe"),
    **dict.fromkeys(("ConvNeXtTiny", "ConvNeXtSmall"), "none"),
    **dict.fromkeys(("InceptionResNetV2", "ResNet152V2"), "signed"),
    "ResNet152": "caffe",
}
SAVED: dict[str, tuple[str, Callable[[keras.Model, Path], None]]] = {  # name of the form: file, and what writes it
    "keras": ("model.keras", lambda model, path: model.save(path)),
    "h5": ("model.h5", lambda model, path: model.save(path)),
    "SavedModel": ("exported", lambda model, path: model.export(path, verbose=False)),
}


def application(name: str, folder: Path) -> Made:
    """All forms: a file of Keras must tell its scaling itself, a SavedModel has pictures to be tried on."""
    network = getattr(keras.applications, name)
    model = network(weights=None, classes=len(KINDS), input_shape=(SIDE, SIDE, 3))
    return saved(model, APPLICATIONS[name], folder, SAVED)


def saved(model: keras.Model, scaling: str, folder: Path, forms: dict[str, Any]) -> Made:
    fit(model, keras, pixel_scaling(scaling, 3), SIDE)
    written, failed = {}, {}
    for form, (file, write) in forms.items():
        try:
            write(model, folder / file)
        except Exception as error:  # whatever Keras says to a network that it cannot save so
            failed[form] = str(error).strip().splitlines()[0]
            continue
        written[form] = Form(file, WITH_PICTURES if (folder / file).is_dir() else ())
    other, classes = write_answers(folder, SIDE, scaling, lambda given: model.predict(given, batch_size=8, verbose=0))
    return Made(written, failed, scaling, other, classes)


def nchw_saved_model(name: str, folder: Path) -> Made:
    """As converters from PyTorch write it: the channels come first, and are moved at once."""
    model = keras.applications.MobileNetV3Small(weights=None, classes=len(KINDS), input_shape=(SIDE, SIDE, 3))

    def write(model: keras.Model, path: Path) -> None:
        module = tf.Module()
        module.model = model
        spec = tf.TensorSpec((None, 3, SIDE, SIDE), tf.float32, name="pixel_values")
        function = tf.function(
            lambda pixel_values: {"logits": tf.math.log(model(tf.transpose(pixel_values, (0, 2, 3, 1))))},
            input_signature=[spec],
        )
        tf.saved_model.save(module, str(path), signatures=function)

    return saved(model, "none", folder, {"SavedModel, NCHW": ("exported", write)})


def onnx_file(name: str, folder: Path) -> Made:
    """The smallest ONNX model: one node, `Relu`, of images (1, 3, 224, 224)."""

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3]) + varint(value)
        return bytes([number << 3 | 2]) + varint(len(value)) + value

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    def tensor(name: bytes) -> bytes:
        sizes = b"".join(field(1, field(1, size)) for size in (1, 3, 224, 224))
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, sizes)))

    node = field(1, b"images") + field(2, b"scores") + field(4, b"Relu")
    graph = field(1, node) + field(2, b"graph") + field(11, tensor(b"images")) + field(12, tensor(b"scores"))
    (folder / "model.onnx").write_bytes(field(1, 8) + field(7, graph) + field(8, field(2, 17)))
    return Made({"ONNX, NCHW": Form("model.onnx")}, {}, "", "", 0)


def main(name: str, folder: Path) -> None:
    warnings.simplefilter("ignore")  # .h5 is an old format, Keras says
    keras.utils.set_random_seed(0)
    make = MAKERS.get(name, application)
    (folder / MADE).write_text(json.dumps(asdict(make(name, folder))))


MAKERS: dict[str, Callable[[str, Path], Made]] = {"NCHW": nchw_saved_model, "ONNX": onnx_file}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
