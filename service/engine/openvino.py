"""OpenVINO on the CPU."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import INT8
from models.insight.familiarity import FAMILIARITY
from models.insight.graph import features_of
from models.process.tbb import Threads
from service.engine.backend import Backend, Tensors, quickest
from service.engine.pace import Pace
from service.machine import available_cores

THREADS = Threads()
TINY_S = 0.0008  # for one image on one core; below this a second core would spend its time waiting
FAR_FROM_TINY = 10  # times TINY_S; other load cannot explain a time above this
TINY_BYTES = 8_000_000  # of weights: to read more from memory takes longer than that


class OpenVINO(Backend):
    """OpenVINO on the CPU's cores; it reads the SavedModel directly."""

    takes_any_size = True

    def __init__(self, bundle: Path, precision: str, pace: Pace, threads: int = 0) -> None:
        self.precision = precision
        openvino = pace.at_low_priority(import_openvino)
        self._core, self._tensor = openvino.Core(), openvino.Tensor
        file = bundle / INT8 / "model.xml" if precision == "int8" else bundle
        self._model = pace.at_low_priority(lambda: self._core.read_model(file))
        names = [output.get_any_name() for output in self._model.outputs]  # there may be more than the one
        self._outputs = [names.index("probabilities")]
        features = features_of(self._model) if (bundle / FAMILIARITY).exists() else None
        if features is not None:
            self._outputs.append(len(names))
            self._model.add_outputs([features])
        rest = self.precisions(bundle)[1] if precision == "int8" else precision  # of what is not in 8 bits
        weights = sum(file.stat().st_size for file in (bundle / "variables").iterdir())
        may_be_tiny = weights < TINY_BYTES and threads < 2
        tried = sorted({1, available_cores()}) if may_be_tiny else [available_cores()]
        for number in [threads] if threads else tried:
            self.threads = number
            self._request = self._compile(self._model, {"float32": "f32", "bfloat16": "bf16"}[rest], pace)
            self._is_tiny = may_be_tiny and number == 1 and (threads == 1 or self._measures_as_tiny(pace))
            if self._is_tiny:
                break

    def threads_on(self, cores: int) -> int:
        return 1 if self._is_tiny else cores

    def start(self, images: np.ndarray) -> list[np.ndarray]:
        # Without OpenVINO's dictionaries of inputs and outputs, which cost a third of a small model's time.
        self._images = np.require(images, requirements=["C", "W"])  # kept: the tensor shares its memory
        self._request.set_input_tensor(self._tensor(self._images, shared_memory=True))
        self._request.infer()
        return [self._request.get_output_tensor(output).data.copy() for output in self._outputs]

    def finish(self, started: list[np.ndarray]) -> np.ndarray:
        return started[0]

    def features(self, started: list[np.ndarray]) -> np.ndarray | None:
        return started[1] if len(started) > 1 else None

    def _compile(self, model: Any, precision: str, pace: Pace) -> Any:
        settings = settings_for(precision, self.threads)
        return pace.at_low_priority(lambda: self._core.compile_model(model, "CPU", settings).create_infer_request())

    def _measures_as_tiny(self, pace: Pace) -> bool:
        """Whether the model is so small that a second core would mostly wait, and be lost to other processes.

        Measured with one thread, which a busy machine disturbs least, and up to three times.
        """
        images = np.zeros((1, *self._model.inputs[0].get_partial_shape().get_min_shape()[1:]), np.uint8)
        for _ in range(3):
            took_s = quickest(self, images, pace)
            if took_s < TINY_S or took_s > FAR_FROM_TINY * TINY_S:
                return took_s < TINY_S
        return False

    @staticmethod
    def get_ready() -> Any:
        frontend = import_module("openvino.frontend").FrontEndManager().load_by_framework("tf")
        return frontend, compute_small_product()

    @staticmethod
    def hold_threads() -> None:
        THREADS.hold()

    @staticmethod
    def release_threads() -> None:
        THREADS.release()

    @staticmethod
    def precisions(bundle: Path) -> tuple[str, ...]:
        """The fastest first, on most machines; int8 where the bundle has that form."""
        import openvino

        capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        exact = ("bfloat16", "float32") if "BF16" in capabilities else ("float32",)
        return ("int8", *exact) if (bundle / INT8 / "model.xml").exists() and "INT8" in capabilities else exact


def settings_for(precision: str, threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": "1",  # all cores on one batch: two streams gave 0.93 of the images/s on 2 cores
        "INFERENCE_NUM_THREADS": str(threads),
        "ENABLE_CPU_PINNING": threads > 1,  # of one thread it would be taken and given back at every batch
    }


def import_openvino() -> Any:
    return import_module("openvino")


def compute_small_product() -> Any:
    """Compile and compute a matrix product; what is returned keeps the libraries loaded."""
    from openvino import Core, Model, opset13

    images = opset13.parameter([-1, 256], np.float32)
    weights = opset13.constant(np.zeros((256, 256), np.float32))
    product = Model([opset13.matmul(images, weights, False, False)], [images])
    core = Core()
    request = core.compile_model(product, "CPU", settings_for("f32", 1)).create_infer_request()
    request.infer([np.zeros((64, 256), np.float32)])
    return core


def load_tensors(folder: Path, outputs: list[str]) -> Tensors:
    """The signature `serving_default` of any SavedModel without texts, in float32."""
    core = import_module("openvino").Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(available_cores())}
    request = core.compile_model(core.read_model(folder), "CPU", settings).create_infer_request()

    def compute(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        found = request.infer(inputs, share_inputs=False)
        return {name: found[name].copy() for name in outputs}

    return compute
