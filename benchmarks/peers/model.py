"""What every peer is given: our decoder, the same SavedModel, and either of two engines to run it.

Variables say which: BENCH_BUNDLE, BENCH_ENGINE (`tensorflow` or `openvino`), BENCH_PORT.
"""

import os
import threading
from pathlib import Path

import numpy as np

from models.bundle.manifest import read_manifest
from models.bundle.preprocessing import decode_image

BUNDLE = Path(os.environ["BENCH_BUNDLE"])
ENGINE = os.environ["BENCH_ENGINE"]
PORT = int(os.environ["BENCH_PORT"])
MAX_BATCH_SIZE = 16
WAIT_S = float(os.environ.get("BENCH_WAIT_S", "0.005"))  # for company; without it most of them never form a batch
MANIFEST = read_manifest(BUNDLE)


def decode(data: bytes) -> np.ndarray:
    """uint8 (H, W, C)."""
    return decode_image(data, MANIFEST.input_spec)


class Model:
    """The network, loaded and run once for each batch size that peers form most."""

    def __init__(self) -> None:
        self._infer = {"tensorflow": load_tensorflow, "openvino": load_openvino}[ENGINE]()
        for size in (1, 2, 4, 8, MAX_BATCH_SIZE):
            self._infer(np.zeros((size, *MANIFEST.input_spec.shape), np.uint8))

    def classify(self, images: list[np.ndarray]) -> list[list[tuple[str, float]]]:
        """The five most probable classes of each."""
        probabilities = self._infer(np.stack(images))
        names = MANIFEST.class_names
        return [[(names[i], float(row[i])) for i in np.argsort(-row)[:5]] for row in probabilities]


def load_tensorflow():
    """As TensorFlow's own guide has it."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(BUNDLE))
    signature = loaded.signatures["serving_default"]

    def infer(images: np.ndarray) -> np.ndarray:
        return signature(images=tf.constant(images))["probabilities"].numpy()

    infer.keeps = loaded
    return infer


def load_openvino():
    """With the settings that our own engine has."""
    import openvino

    core = openvino.Core()
    capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if capable else "f32",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(len(os.sched_getaffinity(0))),
    }
    request = core.compile_model(core.read_model(BUNDLE), "CPU", settings).create_infer_request()
    alone = threading.Lock()  # a request computes one batch at a time, and Flask has several threads

    def infer(images: np.ndarray) -> np.ndarray:
        with alone:
            return request.infer({"images": images}, share_inputs=True)["probabilities"].copy()

    return infer
