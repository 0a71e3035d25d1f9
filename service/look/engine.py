"""The one thread that computes a SavedModel, in the HTTP process itself: for a look there is no batching."""

import importlib.util
import logging

import gevent
import numpy as np
from gevent.threadpool import ThreadPool

from models.errors import UserError
from models.process.quiet import import_quietly
from service.config import Config
from service.engine import openvino, tensorflow
from service.engine.backend import Tensors
from service.errors import BadRequest, DeadlineExceeded, Overloaded, ServiceError
from service.http.in_thread import in_thread
from service.look.kinds import kind_of, listed
from service.look.saved_model import SIGNATURE, SavedModel

log = logging.getLogger(__name__)

MOST_WAITING = 32  # requests


def choose_engine(config: Config, model: SavedModel) -> str:
    """TensorFlow where it is installed: it computes every SavedModel, and import tries whether OpenVINO does.

    Raises:
        UserError: the model takes or returns texts, and is to be computed by OpenVINO; or TensorFlow is missing.
    """
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    engine = config.engine if config.engine != "auto" else "tensorflow" if has_tensorflow else "openvino"
    tensors = model.inputs | model.outputs
    if engine == "openvino" and any(kind_of(tensor).is_text for tensor in tensors.values()):
        raise UserError(
            f"{model.folder} takes or returns texts ({listed(tensors)}), which OpenVINO does not compute; install "
            "TensorFlow (requirements.txt), and leave SERVICE_ENGINE unset."
        )
    if engine == "tensorflow" and not has_tensorflow:
        raise UserError("SERVICE_ENGINE is tensorflow, which is not installed here; see requirements.txt.")
    return engine


class Engine:
    """A SavedModel that is loaded, and the thread that computes it."""

    def __init__(self, model: SavedModel, compute: Tensors, *, deadline_s: float) -> None:
        self._model = model
        self._compute = compute
        self._deadline_s = deadline_s
        self._waiting = 0
        self._thread = ThreadPool(1)

    def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of the signature, by their names.

        Raises:
            Overloaded: too many requests wait.
            DeadlineExceeded: no answer came in time.
            BadRequest: the model itself refuses these inputs.
        """
        if self._waiting >= MOST_WAITING:
            raise Overloaded(f"{MOST_WAITING} requests wait for this model already. Try again later.")
        self._waiting += 1
        try:
            with gevent.Timeout(self._deadline_s):
                return in_thread(self._thread, self._answer, inputs)
        except gevent.Timeout:
            raise DeadlineExceeded("No answer came within the deadline. Try again later.") from None
        except ServiceError:
            raise
        except Exception as error:  # of TensorFlow or OpenVINO, to which the inputs went as the signature has them
            raise BadRequest(f"The model does not compute these inputs: {reason(error)}") from None
        finally:
            self._waiting -= 1

    def _answer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self._compute(inputs)
        return {name: np.asarray(found[name], kind_of(tensor).numpy) for name, tensor in self._model.outputs.items()}


def load(model: SavedModel, engine: str) -> Tensors:
    """
    Raises:
        Exception: whatever a library raises that cannot load it.
    """
    if engine == "openvino":
        return openvino.load_tensors(model.folder, [*model.outputs])
    import_quietly("tensorflow")
    return tensorflow.load_tensors(model.folder, SIGNATURE)


def reason(error: Exception) -> str:
    """What a library says is wrong, without the places in its own code; in one line."""
    lines = str(error).replace(NO_TRACES, "").splitlines()
    said = " ".join(line for line in lines if not line.startswith(NOISE))
    return " ".join(said.split())[:500] or type(error).__name__


NO_TRACES = "<stack traces unavailable>"  # TensorFlow writes it where it has none
NOISE = ("Graph execution error", "Detected at node", "Exception from ", "\t [[", "  File ", "Stack trace")
