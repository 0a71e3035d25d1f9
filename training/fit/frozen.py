"""The part of a network that is not trained, as a function of images.

On a CPU it is computed by OpenVINO: efficientnet_lite2 took 957 photographs of 384 pixels in 10 s where TensorFlow took
a minute (docs/training.md).
"""

import tempfile
from collections.abc import Callable, Iterator

import keras
import numpy as np
import openvino
import openvino.properties.hint as hints

Arrays = list[np.ndarray]
BATCH_SIZE = 16  # images that are computed together; two batches at a time keep two cores busy
MOST_OUTPUTS = 10  # OpenVINO sorts them as texts, so that an eleventh would stand second


class Frozen:
    """uint8 images (B, H, W, C) -> one float32 array (B, ...) for each output of a model, whose weights do not change.

    The numbers that it holds are those which the model has when this is made.
    """

    def __init__(self, model: keras.Model) -> None:
        self._shapes = [tuple(output.shape[1:]) for output in model.outputs]
        on_gpu = any(device.lower().startswith("gpu") for device in keras.distribution.list_devices())
        exact = all(output.dtype == "float32" for output in model.outputs)
        if keras.config.backend() == "tensorflow" and exact and not on_gpu:
            self._compute = by_openvino(model)
        else:
            self._compute = lambda batches: (listed(model.predict_on_batch(images)) for images in batches)

    def __call__(self, images: np.ndarray) -> Arrays:
        return next(iter(self._compute([images])))

    def of_all(self, images: np.ndarray, rows: np.ndarray, *, mirrored: bool = False) -> Arrays:
        """Of uint8 images (M, H, W, C)[rows], or of their mirror images, one float32 array (N, ...) for each output."""
        found = [np.empty((len(rows), *shape), np.float32) for shape in self._shapes]
        parts = [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]

        def batches() -> Iterator[np.ndarray]:
            for part in parts:
                full = images[np.resize(part, BATCH_SIZE)]  # always as many: another number is compiled anew
                yield np.ascontiguousarray(full[:, :, ::-1]) if mirrored else full

        for i, outputs in enumerate(self._compute(batches())):
            for array, output in zip(found, outputs, strict=True):
                array[i * BATCH_SIZE : i * BATCH_SIZE + len(parts[i])] = output[: len(parts[i])]
        return found


def listed(outputs: np.ndarray | Arrays) -> Arrays:
    return [np.asarray(output) for output in (outputs if isinstance(outputs, list) else [outputs])]


def by_openvino(model: keras.Model) -> Callable[[Iterator[np.ndarray] | list[np.ndarray]], Iterator[Arrays]]:
    """Computes batches, as many at a time as the processor has room for; their results come in order."""
    if len(model.outputs) > MOST_OUTPUTS:
        raise ValueError(f"The outputs of {model.name} are more than {MOST_OUTPUTS}.")
    with tempfile.TemporaryDirectory(prefix="striate-frozen-") as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        compiled = openvino.Core().compile_model(
            openvino.convert_model(folder), "CPU", {hints.performance_mode: hints.PerformanceMode.THROUGHPUT}
        )

    def compute(batches: Iterator[np.ndarray] | list[np.ndarray]) -> Iterator[Arrays]:
        queue = openvino.AsyncInferQueue(compiled)
        done: dict[int, Arrays] = {}

        def keep(request: openvino.InferRequest, i: int) -> None:
            done[i] = [np.array(output.data, np.float32) for output in request.output_tensors]

        queue.set_callback(keep)
        waiting, count = 0, 0
        for images in batches:
            queue.start_async({0: np.ascontiguousarray(images)}, count)
            count += 1
            while waiting in done:
                yield done.pop(waiting)
                waiting += 1
        queue.wait_all()
        for i in range(waiting, count):
            yield done.pop(i)

    return compute
