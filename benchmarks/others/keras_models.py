"""Networks of keras.applications and others, saved as Keras 3 and TensorFlow save them.

`python -m benchmarks.others.keras_models NAME FOLDER`; FOLDER becomes what `benchmarks.others.made` says.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from benchmarks.others.fitted import fit
from benchmarks.others.huggingface_models import convnext, vit
from benchmarks.others.made import CHECKED, Form, Made, save, write_answers, write_made
from benchmarks.others.pictures import KINDS, SIDE
from tests.training.importing.foreign_models import BIAS, WEIGHTS, shades, tensorflow_1_model
from training.preprocessing.scalings import pixel_scaling

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
    network = getattr(keras.applications, name)
    model = network(weights=None, classes=len(KINDS), input_shape=(SIDE, SIDE, 3))
    scaling = APPLICATIONS[name]
    fit(model, keras, pixel_scaling(scaling, 3), SIDE)
    answers = write_answers(folder, SIDE, scaling, lambda given: model.predict(given, batch_size=8, verbose=0))
    return save(model, folder, SAVED, answers)


def hugging_face(name: str, folder: Path) -> Made:
    build, scaling = {"ViT, NCHW": (vit, "signed"), "ConvNeXt, NCHW": (convnext, "imagenet")}[name]
    model, scale = build(SIDE, len(KINDS)), pixel_scaling(scaling, 3)
    fit(model, keras, lambda images: channels_first(scale(images)), SIDE)

    def answer(given: np.ndarray) -> np.ndarray:
        found: np.ndarray = softmax(model.predict(channels_first(given), batch_size=8, verbose=0)["logits"], axis=1)
        return found

    return save(model, folder, {"SavedModel": SAVED["SavedModel"]}, write_answers(folder, SIDE, scaling, answer))


def channels_first(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def converted(name: str, folder: Path) -> Made:
    """As converters from PyTorch write it: `tf.saved_model.save`, and the channels come first and are moved at once."""
    model = keras.applications.MobileNet(weights=None, classes=len(KINDS), input_shape=(SIDE, SIDE, 3))
    fit(model, keras, pixel_scaling("imagenet", 3), SIDE)
    answers = write_answers(folder, SIDE, "imagenet", lambda given: model.predict(given, batch_size=8, verbose=0))

    def write(model: keras.Model, path: Path) -> None:
        module = tf.Module()
        module.model = model
        spec = tf.TensorSpec((None, 3, SIDE, SIDE), tf.float32, name="input")
        call = tf.function(
            lambda images: {"output": tf.math.log(model(tf.transpose(images, (0, 2, 3, 1))))}, input_signature=[spec]
        )
        tf.saved_model.save(module, str(path), signatures=call)

    return save(model, folder, {"SavedModel": ("converted", write)}, answers)


def tensorflow_1(name: str, folder: Path) -> Made:
    """Encoded images in: it decodes and scales them itself. Three classes by brightness, at 16x16 pixels."""
    tensorflow_1_model(folder / "saved")
    images, _ = shades(32)

    def answer(scaling: str) -> np.ndarray:
        means = pixel_scaling(scaling, 3)(images.astype(np.float32)).mean((1, 2, 3), np.float64)
        found: np.ndarray = softmax(means[:, None] * WEIGHTS + BIAS, axis=1)
        return found

    np.savez(folder / CHECKED, images=images, right=answer("signed"), wrong=answer("unit"))
    return Made({"SavedModel": Form("saved", ("--size", "16"))}, {}, "none", 3)


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
    return Made({"ONNX": Form("model.onnx")}, {})


def main(name: str, folder: Path) -> None:
    warnings.simplefilter("ignore")  # .h5 is an old format, Keras says
    keras.utils.set_random_seed(0)
    write_made(MAKERS.get(name, application)(name, folder), folder)


MAKERS: dict[str, Callable[[str, Path], Made]] = {
    "ViT, NCHW": hugging_face,
    "ConvNeXt, NCHW": hugging_face,
    "Converted, NCHW": converted,
    "TensorFlow 1": tensorflow_1,
    "ONNX, NCHW": onnx_file,
}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
