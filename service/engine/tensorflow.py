"""TensorFlow, on a GPU or on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from service.engine.backend import Backend, Tensors
from service.engine.pace import Pace
from service.machine import available_cores, has_bfloat16


class TensorFlow(Backend):
    """TensorFlow: on a GPU in mixed precision or compiled by XLA; memory grows as needed.

    Mixed precision rewrites the graph, as training with it would have: products in 16 bits, sums and the rest in 32.
    XLA compiles the graph as it was exported, so it is for float32.
    """

    has_one_setting = True  # how graphs are rewritten is one setting for the process

    def __init__(self, bundle: Path, precision: str, pace: Pace, threads: int = 0) -> None:
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.optimizer.set_experimental_options({option: precision == name for name, option in REWRITES.items()})
        if not gpus:
            tf.config.threading.set_intra_op_parallelism_threads(available_cores())
        self.precision = precision
        self.threads = 0 if gpus else available_cores()
        self.in_flight = 2 if gpus else 1  # the next batch's pixels travel while the GPU computes
        self._loaded = tf.saved_model.load(str(bundle))  # kept: the signature refers to its variables weakly
        signature = self._loaded.signatures["serving_default"]
        self._function = tf.function(
            lambda images: signature(images=images),
            input_signature=[signature.structured_input_signature[1]["images"]],
            jit_compile=bool(gpus) and precision == "float32",
        )

    def start(self, images: np.ndarray) -> Any:
        return self._function(images)["probabilities"]  # on a GPU a promise: TensorFlow does not wait for it here

    def finish(self, started: Any) -> np.ndarray:
        probabilities: np.ndarray = started.numpy()
        return probabilities

    @staticmethod
    def get_ready() -> Any:
        import tensorflow as tf

        return tf

    @staticmethod
    def precisions(bundle: Path) -> tuple[str, ...]:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return "float16", "float32"
        return ("bfloat16", "float32") if has_bfloat16() else ("float32",)


REWRITES = {"float16": "auto_mixed_precision", "bfloat16": "auto_mixed_precision_onednn_bfloat16"}  # of Grappler's


def load_tensors(folder: Path, signature: str) -> Tensors:
    """One signature of any SavedModel, computed as it was exported."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder), tags=["serve"])
    function = loaded.signatures[signature]

    def compute(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        assert loaded is not None  # kept: the signature refers to its variables weakly
        return {name: output.numpy() for name, output in function(**tensors(inputs)).items()}

    def tensors(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        return {name: tf.constant(array) for name, array in inputs.items()}

    return compute
