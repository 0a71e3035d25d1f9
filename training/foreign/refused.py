"""Files that are models, but cannot be imported: why, and what to do with each kind."""

from pathlib import Path

ACCEPTED = (
    "Accepted are a .keras file, a whole model as .h5 or .hdf5, the folder of a SavedModel, and a zip or tar file of "
    "one of these, as Teachable Machine exports it."
)
WEIGHTS_ONLY = (
    "{path} has weights, and no network that could be read without running somebody's code. For a network that Striate "
    "has: striate import-weights NETWORK --file {path}."
)
REFUSED = {  # suffix: the sentences
    # onnx-tf had its last release in 2022 and needs TensorFlow Addons, which is discontinued. onnx2tf pins one exact
    # version each of TensorFlow, NumPy, protobuf and h5py, and none of them is Striate's.
    ".onnx": (
        "{path} is an ONNX model, and no converter to a SavedModel works with the versions of TensorFlow and NumPy "
        "that Striate uses. Convert it in an environment of its own: pip install onnx2tf; onnx2tf -i {path} -o FOLDER. "
        "Then import FOLDER."
    ),
    ".tflite": (
        "{path} is a TensorFlow Lite model, which was made for devices from another one and cannot be turned back. "
        "Import the model that it was made from; Teachable Machine exports it as Tensorflow, Keras."
    ),
    **dict.fromkeys((".pt", ".pth", ".safetensors", ".ckpt"), WEIGHTS_ONLY),
    ".json": (
        "{path} is a model of TensorFlow.js. Convert it: pip install tensorflowjs, then tensorflowjs_converter "
        "--input_format=tfjs_layers_model --output_format=keras {path} model.h5. Then import model.h5."
    ),
    ".pb": (
        "{path} is a single graph without a signature that names its input and output. Write a SavedModel from it with "
        "tf.compat.v1.saved_model.simple_save, and import its folder."
    ),
    ".pbtxt": (
        "{path} is a graph written as text. Save the model with tf.saved_model.save, which writes saved_model.pb, and "
        "import its folder."
    ),
    **dict.fromkeys(
        (".pkl", ".pickle", ".joblib"),
        "{path} is a Python pickle, which runs code when it is read. Save the model with model.save('model.keras').",
    ),
}


def refusal_of(path: Path, head: bytes) -> str | None:
    """Why a file cannot be imported, if it is of a kind that is known and refused.

    Args:
        head: the first 16 bytes of the file.
    """
    suffix = ".tflite" if head[4:8] == b"TFL3" else path.suffix.lower()
    if suffix == ".json" and "model" not in path.stem:  # other programs write .json as well
        return None
    if path.name == "saved_model.pb":
        return f"{path} is a part of a SavedModel. Give its folder: {path.parent}"
    sentences = REFUSED.get(suffix)
    return None if sentences is None else sentences.format(path=path)
