"""Two ways to run the same SavedModel, behind one small interface; each is called from one thread."""

import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from models.bundle import INT8, Manifest, read_golden, verify
from models.preprocessing import decode_image
from service.machine import available_cores

log = logging.getLogger(__name__)

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.02, "int8": 0.1}  # in probability, on the golden images


class Backend(Protocol):
    """A model that is loaded and ready.

    Attributes:
        precision: in which it computes.
        batch_sizes: ascending; batches of other sizes would be slower.
    """

    precision: str
    batch_sizes: tuple[int, ...]

    def infer(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C), N one of `batch_sizes` -> float32 (N, num_classes)."""


class OpenVINO:
    """OpenVINO on the CPU's cores; it reads the SavedModel directly."""

    def __init__(self, bundle: Path, precision: str, batch_sizes: tuple[int, ...]) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(bundle / INT8 / "model.xml" if precision == "int8" else bundle)
        rest = self.precisions(bundle)[1] if precision == "int8" else precision  # of what is not in 8 bits
        settings = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[rest],
            "NUM_STREAMS": "1",  # all cores on one batch: two streams gave 0.93 of the images/s on 2 cores
            "INFERENCE_NUM_THREADS": str(available_cores()),
        }
        self.precision = precision
        self.batch_sizes = batch_sizes
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def infer(self, images: np.ndarray) -> np.ndarray:
        return self._request.infer({"images": images}, share_inputs=True)["probabilities"].copy()

    @staticmethod
    def precisions(bundle: Path) -> tuple[str, ...]:
        """Fastest first; 8 bits where training.quantize has been at work."""
        import openvino

        capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        exact = ("bfloat16", "float32") if "BF16" in capabilities else ("float32",)
        return ("int8", *exact) if (bundle / INT8 / "model.xml").exists() and "INT8" in capabilities else exact


class TensorFlow:
    """TensorFlow, compiled by XLA on a GPU; memory grows as needed instead of being taken whole."""

    def __init__(self, bundle: Path, precision: str, batch_sizes: tuple[int, ...]) -> None:
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        if not gpus:
            tf.config.threading.set_intra_op_parallelism_threads(available_cores())
        self.precision = precision
        self.batch_sizes = batch_sizes
        self._loaded = tf.saved_model.load(str(bundle))  # kept: the signature refers to its variables weakly
        signature = self._loaded.signatures["serving_default"]
        self._function = tf.function(
            lambda images: signature(images=images),
            input_signature=[signature.structured_input_signature[1]["images"]],
            jit_compile=bool(gpus),
        )

    def infer(self, images: np.ndarray) -> np.ndarray:
        return self._function(images)["probabilities"].numpy()

    @staticmethod
    def precisions(bundle: Path) -> tuple[str, ...]:
        return ("float32",)  # the exported graph's own


BACKENDS: dict[str, Any] = {"openvino": OpenVINO, "tensorflow": TensorFlow}


def load(bundle: Path, engine: str, precision: str, max_batch_size: int) -> tuple[Backend, Manifest]:
    """Verify a bundle, load it in the fastest precision that is faithful, and warm it up.

    Raises:
        BrokenBundle: the files are not what was exported.
        ValueError: no precision gives the golden images their answers, or the precision asked for is not to be had.
    """
    manifest = verify(bundle)
    offered = BACKENDS[engine].precisions(bundle)
    candidates = offered if precision == "auto" else (precision,)
    if not set(candidates) <= set(offered):
        raise ValueError(f"The {engine} engine computes in {' or '.join(offered)} here, not in {precision}.")
    sizes = tuple(2**i for i in range(max(1, max_batch_size).bit_length()))
    for i, candidate in enumerate(candidates):
        backend = BACKENDS[engine](bundle, candidate, sizes)
        try:
            check_golden(backend, bundle, manifest)
        except ValueError as error:
            if i == len(candidates) - 1:
                raise
            log.warning("%s", error)
            continue
        warm_up(backend, manifest)
        return backend, manifest
    raise AssertionError("there is always a candidate")


def check_golden(backend: Backend, bundle: Path, manifest: Manifest) -> None:
    """The bundle's own images must get the answers that the trained network, or in 8 bits the quantized one, gave them.

    Raises:
        ValueError: an answer differs by more than the precision explains.
    """
    tolerance = TOLERANCE[backend.precision]
    for i, (data, row) in enumerate(read_golden(bundle, int8=backend.precision == "int8")):
        expected = np.array(row)
        image = decode_image(data, manifest.input_spec)
        got = backend.infer(image[None])[0]
        if got.shape != expected.shape:
            raise ValueError(f"{bundle} gives {got.size} probabilities; it names {len(manifest.class_names)} classes.")
        difference = float(np.abs(got - expected).max())
        same_class = expected[got.argmax()] >= expected.max() - tolerance  # nearly equal classes may change places
        if not (difference <= tolerance and same_class):
            raise ValueError(
                f"{bundle} in {backend.precision} differs by {difference:.3g} on golden image {i}; "
                f"at most {tolerance:g} is allowed."
            )


def warm_up(backend: Backend, manifest: Manifest) -> None:
    """Run every batch size once, so that no request is the first of its kind."""
    for size in backend.batch_sizes:
        backend.infer(np.zeros((size, *manifest.input_spec.shape), np.uint8))
