"""The graph that OpenVINO has read of a bundle: its last layers, looked through from the probabilities on."""

import os
from collections.abc import Iterator
from typing import Any

MOST_OPERATIONS = 20  # between what is looked for and the logits
SUMS = ("Add", "ReduceMean")


def logits_of(model: Any) -> Any:
    """The output that the probabilities are computed of.

    Raises:
        ValueError: the model gives no probabilities.
    """
    result = next((output for output in model.outputs if output.get_any_name() == "probabilities"), None)
    if result is None:
        raise ValueError("the model has no output called probabilities")
    return result.get_node().input_value(0).get_node().input_value(0)


def features_of(model: Any) -> Any | None:
    """The output (N, F) that the last dense layer takes; None where no such layer is before the logits.

    Of a network that answers with the mean of an image and its mirror image it is that of the image.
    """
    for operation in back_from(logits_of(model).get_node(), through_means=True):
        if operation.get_type_name() == "MatMul":
            taken = operation.input_value(0)
            shape = taken.get_partial_shape()
            return taken if shape.rank.is_static and len(shape) == 2 and shape[1].is_static else None
    return None


def back_from(operation: Any, *, through_means: bool = False) -> Iterator[Any]:
    """This operation and those before it, as long as each has one source that is no constant.

    Args:
        through_means: of a sum or mean of several sources, go on with the first.
    """
    for _ in range(MOST_OPERATIONS):
        yield operation
        before = sources(operation)
        if len(before) != 1 and not (before and through_means and operation.get_type_name() in SUMS):
            return
        operation = before[0]


def sources(operation: Any) -> list[Any]:
    """The operations whose results this one takes, without constants."""
    found = [operation.input_value(i).get_node() for i in range(operation.get_input_size())]
    return [source for source in found if source.get_type_name() != "Constant"]


def compiled(core: Any, model: Any) -> Any:
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(len(os.sched_getaffinity(0))),
    }
    return core.compile_model(model, "CPU", settings).create_infer_request()
