"""Arithmetic between the layers of a network, as `x + 3.0` in the code that built it.

In a configuration it is an operation that stands between the layers. Keras 3 names its class without the module in
`.h5` files, and reads the layer Add where it had written the operation Add. Keras 2 wrote the name of a function of
TensorFlow. Both become what Keras 3 writes into `.keras` files.
"""

import ast
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

NUMPY, NN = "keras.src.ops.numpy", "keras.src.ops.nn"
CALLS = ("TFOpLambda",)  # classes of Keras 2
OF_ONE = {  # functions of TensorFlow: the operation of Keras 3
    "math.abs": (NUMPY, "Absolute"),
    "math.exp": (NUMPY, "Exp"),
    "math.log": (NUMPY, "Log"),
    "math.negative": (NUMPY, "Negative"),
    "math.sigmoid": (NN, "Sigmoid"),
    "math.sqrt": (NUMPY, "Sqrt"),
    "math.square": (NUMPY, "Square"),
    "math.tanh": (NUMPY, "Tanh"),
    "nn.relu": (NN, "Relu"),
    "nn.relu6": (NN, "Relu6"),
    "nn.sigmoid": (NN, "Sigmoid"),
    "nn.tanh": (NUMPY, "Tanh"),
}
OF_TWO = {
    "__operators__.add": (NUMPY, "Add"),
    "math.add": (NUMPY, "Add"),
    "math.divide": (NUMPY, "Divide"),
    "math.maximum": (NUMPY, "Maximum"),
    "math.minimum": (NUMPY, "Minimum"),
    "math.multiply": (NUMPY, "Multiply"),
    "math.pow": (NUMPY, "Power"),
    "math.subtract": (NUMPY, "Subtract"),
    "math.truediv": (NUMPY, "TrueDivide"),
}
CONSTANT = "_CONSTANT_VALUE"  # the place of a layer's name where Keras 2 has a number


def as_operation(found: dict[str, Any]) -> None:
    """Change an object of a configuration, if it is such an operation; what is not known stays as it is."""
    config = found.get("config")
    if not isinstance(config, dict) or not isinstance(found.get("inbound_nodes"), list):
        return
    if found["class_name"] in CALLS:
        of_tensorflow(found, config)
    elif found.get("module") is None and "trainable" not in config:  # which layers have
        module = next((name for name in (NUMPY, NN) if found["class_name"] in operations_of(name)), None)
        if module:
            found |= {"module": module, "registered_name": found["class_name"]}


def of_tensorflow(found: dict[str, Any], config: dict[str, Any]) -> None:
    function, nodes = str(config.get("function")), found["inbound_nodes"]
    known = OF_ONE.get(function) or OF_TWO.get(function)
    arguments = [arguments_of(node, 2 if function in OF_TWO else 1) for node in nodes]
    if known and arguments and all(arguments):
        module, name = known
        found |= {"module": module, "class_name": name, "registered_name": name, "config": {"name": config.get("name")}}
        found["inbound_nodes"] = [{"args": each, "kwargs": {}} for each in arguments]
        found.pop("build_config", None)  # which only layers have


def arguments_of(node: Any, number: int) -> list[Any] | None:
    """["conv", 0, 0, {"y": 3.0}] or ["_CONSTANT_VALUE", -1, 3.0, {"y": ["conv", 0, 0]}] of Keras 2 -> its arguments, as
    Keras 3 writes them; None if they are others.
    """
    if not isinstance(node, list) or len(node) != 4 or not isinstance(node[3], dict):
        return None
    others = {key: value for key, value in node[3].items() if key != "name"}
    if set(others) != ({"y"} if number == 2 else set()):
        return None
    values = [node[2] if node[0] == CONSTANT else node[:3], *others.values()]
    found = [value if isinstance(value, int | float) else tensor(value) for value in values]
    return None if None in found else found


def tensor(reference: Any) -> dict[str, Any] | None:
    """The output of a layer; its shape is not known here, and Keras does not need it."""
    if not isinstance(reference, list) or len(reference) != 3 or not isinstance(reference[0], str):
        return None
    return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": "float32", "keras_history": reference}}


@cache
def operations_of(module: str) -> frozenset[str]:
    """The classes of a module of the installed Keras, which is parsed and not imported."""
    path = Path(str(distribution("keras").locate_file(f"{module.replace('.', '/')}.py")))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.ClassDef))
