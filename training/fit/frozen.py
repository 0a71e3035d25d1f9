"""The part of a network that is not trained, as a function of images.

On a CPU OpenVINO computes it, which is several times as fast as TensorFlow (docs/understand/decisions.md has figures).
"""

import tempfile
from collections import deque
from collections.abc import Callable, Iterator

import keras
import numpy as np
import openvino
import openvino.properties
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

    requests = [compiled.create_infer_request() for _ in range(num_requests(compiled))]

    def compute(batches: Iterator[np.ndarray] | list[np.ndarray]) -> Iterator[Arrays]:
        waiting: deque[openvino.InferRequest] = deque()  # those that compute, the oldest first
        for i, images in enumerate(batches):
            if len(waiting) == len(requests):
                yield outputs_of(waiting.popleft())
            request = requests[i % len(requests)]
            request.start_async({0: np.ascontiguousarray(images)})
            waiting.append(request)
        while waiting:
            yield outputs_of(waiting.popleft())

    return compute


def num_requests(compiled: openvino.CompiledModel) -> int:
    """How many batches keep the processor busy."""
    count: int = compiled.get_property(openvino.properties.optimal_number_of_infer_requests())
    return count


def outputs_of(request: openvino.InferRequest) -> Arrays:
    """Waits for them; a queue of OpenVINO's own would call Python from its threads, and one such run never ended."""
    request.wait()
    return [np.array(output.data, np.float32) for output in request.output_tensors]
