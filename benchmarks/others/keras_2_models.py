"""Networks as Keras 2 saves them, and an export of Teachable Machine, which is one: needs tf_keras.

`python -m benchmarks.others.keras_2_models NAME FOLDER`; FOLDER becomes what `benchmarks.others.made` says.
"""

import sys
import zipfile
from pathlib import Path
from typing import Any

import tf_keras

from benchmarks.others.fitted import fit
from benchmarks.others.made import WITH_PICTURES, Form, Made, save, write_answers, write_made
from benchmarks.others.pictures import KINDS, SIDE
from training.preprocessing.scalings import pixel_scaling

KERAS_2 = ", Keras 2"  # in the name of a model
SAVED: dict[str, tuple[str, Any]] = {
    "keras": ("model.keras", lambda model, path: model.save(path)),
    "h5": ("model.h5", lambda model, path: model.save(path)),
    "SavedModel": ("saved", lambda model, path: model.save(path, save_format="tf")),
}
SCALINGS = {"MobileNetV2": "signed", "MobileNetV3Small": "none", "EfficientNetB0": "none", "ResNet50": "caffe"}


def application(name: str, folder: Path) -> Made:
    network = name.removesuffix(KERAS_2)
    build = getattr(tf_keras.applications, network)
    model = build(weights=None, classes=len(KINDS), input_shape=(SIDE, SIDE, 3))
    fit(model, tf_keras, pixel_scaling(SCALINGS[network], 3), SIDE)
    answers = write_answers(folder, SIDE, SCALINGS[network], lambda given: model.predict(given, verbose=0))
    return save(model, folder, SAVED, answers)


def teachable_machine(name: str, folder: Path) -> Made:
    """A zip with keras_model.h5 and labels.txt; in the model a Sequential of MobileNet, and one of two dense layers."""
    mobilenet = tf_keras.applications.MobileNetV2(
        weights=None, alpha=0.35, include_top=False, input_shape=(SIDE, SIDE, 3)
    )
    features = tf_keras.Sequential([mobilenet, tf_keras.layers.GlobalAveragePooling2D()])
    layers = [
        tf_keras.layers.Dense(100, activation="relu", input_shape=features.output_shape[1:]),
        tf_keras.layers.Dense(len(KINDS), activation="softmax"),  # Teachable Machine's has no bias
    ]
    model = tf_keras.Sequential([features, tf_keras.Sequential(layers)])
    model.build((None, SIDE, SIDE, 3))
    fit(model, tf_keras, pixel_scaling("signed", 3), SIDE)
    answers = write_answers(folder, SIDE, "signed", lambda given: model.predict(given, verbose=0))
    model.save(folder / "keras_model.h5")
    with zipfile.ZipFile(folder / "converted_keras.zip", "w") as archive:
        archive.write(folder / "keras_model.h5", "keras_model.h5")
        archive.writestr("labels.txt", "".join(f"{i} {kind}\n" for i, kind in enumerate(KINDS)))
    return Made({"zip": Form("converted_keras.zip", WITH_PICTURES)}, {}, *answers)


def main(name: str, folder: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    write_made(teachable_machine(name, folder) if name == "Teachable Machine" else application(name, folder), folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
