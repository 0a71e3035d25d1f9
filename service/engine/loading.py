"""Two ways to run the same SavedModel, behind one small interface; each is called from one thread."""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import INT8, Manifest, read_golden, verify
from models.bundle.preprocessing import decode_image
from models.errors import UserError
from service.engine.batch_sizes import LONGEST_BATCH_S, BatchSizes, powers_of_two
from service.engine.pace import Pace
from service.machine import available_cores, has_bfloat16

log = logging.getLogger(__name__)

ENOUGH_S = 0.003  # of batches of a size, to know how long one takes: the quickest, since others disturb
TINY_S = 0.0008  # for one image on one core; a second that waits for a piece of so little work is busy with waiting
TINY_BYTES = 8_000_000  # of weights: to read more from memory takes longer than that
LONGEST_WARM_UP_S = 0.03  # of one batch, where larger ones need none: somebody may be waiting, or be answered beside
TOLERANCE = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.02, "int8": 0.1}  # in probability, on the golden images


class Unfaithful(UserError):
    """A model does not give its golden images the answers that it gave them when it was made."""


class Backend(ABC):
    """A model that is loaded.

    Attributes:
        precision: in which it computes.
        threads: that compute one batch; 0 on a GPU.
        in_flight: batches that may be started before the first of them is finished.
        takes_any_size: whether the first batch of a size takes hardly longer than the second.
        fastest_first: whether `precisions` are in the order of their speed on every machine.
    """

    precision: str
    threads: int
    in_flight = 1
    takes_any_size = False
    fastest_first = True

    @abstractmethod
    def start(self, images: np.ndarray) -> Any:
        """uint8 (N, H, W, C), left alone until `finish` -> whatever `finish` wants."""

    @abstractmethod
    def finish(self, started: Any) -> np.ndarray:
        """Float32 (N, num_classes), of the batch that was started first."""

    def infer(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C) -> float32 (N, num_classes)."""
        return self.finish(self.start(images))


class OpenVINO(Backend):
    """OpenVINO on the CPU's cores; it reads the SavedModel directly."""

    takes_any_size = True

    def __init__(self, bundle: Path, precision: str, pace: Pace) -> None:
        self.precision = precision
        self._core = pace.aside(import_openvino).Core()
        if pace.considerate:
            self._start_threads(pace.aside(small_product))
        file = bundle / INT8 / "model.xml" if precision == "int8" else bundle
        self._model = pace.aside(lambda: self._core.read_model(file))
        rest = self.precisions(bundle)[1] if precision == "int8" else precision  # of what is not in 8 bits
        weights = sum(file.stat().st_size for file in (bundle / "variables").iterdir())
        for threads in sorted({1, available_cores()}) if weights < TINY_BYTES else [available_cores()]:
            self.threads = threads
            self._request = self._compile(self._model, {"float32": "f32", "bfloat16": "bf16"}[rest], pace)
            if threads == 1 and self._is_tiny(pace):
                break

    def start(self, images: np.ndarray) -> np.ndarray:
        return self._request.infer({"images": images}, share_inputs=True)["probabilities"].copy()

    def finish(self, started: np.ndarray) -> np.ndarray:
        return started

    def _compile(self, model: Any, precision: str, pace: Pace) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": "1",  # all cores on one batch: two streams gave 0.93 of the images/s on 2 cores
            "INFERENCE_NUM_THREADS": str(self.threads),
            "ENABLE_CPU_PINNING": self.threads > 1,  # of one thread it would be taken and given back at every batch
        }
        return pace.aside(lambda: self._core.compile_model(model, "CPU", settings).create_infer_request())

    def _is_tiny(self, pace: Pace) -> bool:
        """Whether a second core would rather wait for work than help with it, which costs others that core.

        Measured with one thread, which a busy machine disturbs least, and up to three times.
        """
        images = np.zeros((1, *self._model.inputs[0].get_partial_shape().get_min_shape()[1:]), np.uint8)
        return any(quickest(self, images, pace) < TINY_S for _ in range(3))

    def _start_threads(self, product: Any) -> None:
        """Have the pool of threads that computes start them now and here, where they get full priority."""
        self.threads = available_cores()
        self._compile(product, "f32", AT_ONCE).infer([np.zeros((256, 1024), np.float32)])

    @staticmethod
    def precisions(bundle: Path) -> tuple[str, ...]:
        """Fastest first; 8 bits where training.export.quantize has been at work."""
        import openvino

        capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        exact = ("bfloat16", "float32") if "BF16" in capabilities else ("float32",)
        return ("int8", *exact) if (bundle / INT8 / "model.xml").exists() and "INT8" in capabilities else exact


def import_openvino() -> Any:
    import openvino

    return openvino


def small_product() -> Any:
    """A model of one matrix product, large enough that OpenVINO shares it out."""
    from openvino import Model, opset13

    images = opset13.parameter([-1, 1024], np.float32)
    weights = opset13.constant(np.zeros((1024, 1024), np.float32))
    return Model([opset13.matmul(images, weights, False, False)], [images])


class TensorFlow(Backend):
    """TensorFlow: on a GPU in mixed precision or compiled by XLA; memory grows as needed.

    Mixed precision rewrites the graph, as training with it would have: products in 16 bits, sums and the rest in 32.
    XLA compiles the graph as it was exported, so it is for float32.
    """

    fastest_first = False  # which precision is, depends on the GPU

    def __init__(self, bundle: Path, precision: str, pace: Pace) -> None:
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
    def precisions(bundle: Path) -> tuple[str, ...]:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return "float16", "float32"
        return ("bfloat16", "float32") if has_bfloat16() else ("float32",)


REWRITES = {"float16": "auto_mixed_precision", "bfloat16": "auto_mixed_precision_onednn_bfloat16"}  # of Grappler's

BACKENDS: dict[str, Any] = {"openvino": OpenVINO, "tensorflow": TensorFlow}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready for its first request.

    Attributes:
        seconds: that a batch took, by its size, as far as that was measured; the machine may have been busy.
    """

    backend: Backend
    manifest: Manifest
    seconds: dict[int, float]
    max_batch_size: int

    def sizes(self) -> BatchSizes:
        """To be taught by every batch that is computed."""
        return BatchSizes(self.seconds, self.max_batch_size, takes_any_size=self.backend.takes_any_size)


AT_ONCE = Pace(considerate=False)


def load(bundle: Path, engine: str, precision: str, max_batch_size: int, pace: Pace = AT_ONCE) -> Loaded:
    """Verify a bundle, load it in the fastest precision that is faithful, and warm it up.

    Raises:
        BrokenBundle: the files are not what was exported.
        Unfaithful: no precision gives the golden images their answers.
        UserError: the precision asked for is not to be had.
    """
    manifest = pace.aside(lambda: verify(bundle))
    offered = pace.aside(lambda: BACKENDS[engine].precisions(bundle))
    candidates = offered if precision == "auto" else (precision,)
    if not set(candidates) <= set(offered):
        raise UserError(f"The {engine} engine computes in {' or '.join(offered)} here, not in {precision}.")
    faithful: list[Loaded] = []
    for candidate in candidates:
        backend = BACKENDS[engine](bundle, candidate, pace)
        try:
            check_golden(backend, bundle, manifest, pace)
        except Unfaithful as error:
            if candidate == candidates[-1] and not faithful:
                raise
            log.warning("%s", error)
            continue
        seconds = warm_up(backend, manifest.input_spec.shape, max_batch_size, pace)
        faithful.append(Loaded(backend, manifest, seconds, max_batch_size))
        if backend.fastest_first:
            break
    best = min(faithful, key=lambda loaded: min(took / size for size, took in loaded.seconds.items()))
    if best is faithful[-1]:
        return best
    # How TensorFlow rewrites graphs is one setting for the process, and the last backend has set it.
    again = BACKENDS[engine](bundle, best.backend.precision, pace)
    seconds = warm_up(again, manifest.input_spec.shape, max_batch_size, pace)
    return Loaded(again, manifest, seconds, max_batch_size)


def check_golden(backend: Backend, bundle: Path, manifest: Manifest, pace: Pace = AT_ONCE) -> None:
    """The bundle's own images must get the answers that the trained network, or in 8 bits the quantized one, gave them.

    Raises:
        Unfaithful: an answer differs by more than the precision explains.
    """
    tolerance = TOLERANCE[backend.precision]
    for i, (data, row) in enumerate(read_golden(bundle, int8=backend.precision == "int8")):
        expected = np.array(row)
        images = decode_image(data, manifest.input_spec)[None]
        _, (got,) = pace.timed(partial(backend.infer, images))
        if got.shape != expected.shape:
            raise Unfaithful(f"{bundle} gives {got.size} probabilities; it names {len(manifest.class_names)} classes.")
        difference = float(np.abs(got - expected).max())
        same_class = expected[got.argmax()] >= expected.max() - tolerance  # nearly equal classes may change places
        if not (difference <= tolerance and same_class):
            raise Unfaithful(
                f"{bundle} in {backend.precision} differs by {difference:.3g} on golden image {i}; "
                f"at most {tolerance:g} is allowed."
            )


def warm_up(
    backend: Backend, shape: tuple[int, int, int], max_batch_size: int, pace: Pace = AT_ONCE
) -> dict[int, float]:
    """Compute batches of 1, 2, 4 and so on, so that no request is the first of its kind.

    Returns:
        The seconds that each takes. A size that would take too long is not computed: service.engine.batch_sizes tries it
        while the service answers, if smaller batches turn out to be quicker than they were here.
    """
    seconds: dict[int, float] = {}
    longest_s = LONGEST_WARM_UP_S if backend.takes_any_size else LONGEST_BATCH_S
    for size in powers_of_two(max_batch_size):
        as_halves = 2 * seconds.get(size // 2, 0.0)
        if as_halves > longest_s:
            break
        took = quickest(backend, np.zeros((size, *shape), np.uint8), pace)
        seconds[size] = min(took, as_halves) if as_halves else took  # more is somebody else's disturbance
    return seconds


def quickest(backend: Backend, images: np.ndarray, pace: Pace) -> float:
    """Seconds for a batch, once there has been one of its size; more of those that are soon done."""
    infer = partial(backend.infer, images)
    pace.timed(infer)
    times = [pace.timed(infer)[0]]
    while sum(times) < ENOUGH_S:
        times.append(pace.timed(infer)[0])
    return min(times)
