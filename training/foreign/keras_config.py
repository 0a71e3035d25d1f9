"""The configuration of a Keras model, read without Keras: every class in it must be one of Keras's own.

A configuration is JSON. An object in it has a `class_name` and a `config`; in `.keras` files also the `module` that
its class is in, and the name under which that was registered; in `.h5` files only the class. Loading a model makes an
object of each, so that a class from elsewhere would run its code. The names of the classes come from the installed
Keras, whose public modules are lists of imports; they are parsed and not imported.
"""

import ast
import json
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from models.errors import UserError
from training.foreign.keras_2 import OF_APPLICATIONS, modernise

LONGEST_JSON, MOST_VALUES, DEEPEST = 16 << 20, 2_000_000, 100  # characters, values, lists and objects in each other
NETWORKS = frozenset({"Functional", "Model", "Sequential"})
POLICIES = frozenset({"DTypePolicy", "FloatDTypePolicy", "QuantizedDTypePolicy", "Policy"})
LISTED = (  # public modules whose classes are accepted
    *("keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints", "keras.optimizers"),
    *("keras.optimizers.schedules", "keras.losses", "keras.metrics", "keras.random", "keras.dtype_policies"),
)
FUNCTIONS = ("keras.activations", "keras.losses", "keras.metrics", "keras.initializers")
BUILT_IN = "builtins"  # stands for any of FUNCTIONS
NETWORK_MODULES = (
    *("keras", "keras.models", "keras.src.models.functional", "keras.src.models.sequential", "keras.src.models.model"),
)
POLICY_MODULES = ("keras", "keras.mixed_precision", "keras.src.mixed_precision.policy")
OPERATIONS = tuple(f"keras.src.ops.{name}" for name in ("numpy", "nn", "core", "math", "linalg", "image", "operation"))
WITHOUT_MODULE = ("keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints")  # in .h5 files
VALUES = {
    "__keras_tensor__",
    "__tensor__",
    "__numpy__",
    "__bytes__",
    "__ellipsis__",
    "__slice__",
    "__tuple__",
    "TensorShape",
}
REASONS = {  # classes of Keras that are refused
    **dict.fromkeys(("Lambda", "__lambda__"), "has Python code of its own, which loading the model would run"),
    "TFSMLayer": "loads another model from a path",
    "TorchModuleWrapper": "has a pickle of PyTorch, which loading the model would run",
    **dict.fromkeys(("JaxLayer", "FlaxLayer"), "has Python code of its own, which loading the model would run"),
    **dict.fromkeys(
        ("StringLookup", "IntegerLookup", "TextVectorization"), "reads a file of words, which images do not need"
    ),
    **dict.fromkeys(
        ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceProperty"),
        "is a call of TensorFlow, which Keras 2 wrote into the network and Keras 3 does not read",
    ),
}
EXPORT = "Where the model's code is, export it with model.export('folder'), and import that folder, which has no code."


def read_config(text: str | bytes) -> dict[str, Any]:
    """A configuration from its JSON, all of whose classes are accepted.

    What `model.compile` was given is taken out, of nested networks too. Nobody trains the model here, a custom loss is
    no reason to refuse it, and Keras 3.15.1 cannot load a network in which another one is compiled. What Keras 2 wrote
    otherwise is as Keras 3 writes it.

    Raises:
        UserError: it is damaged or too large, or it has a class that is not accepted; names the layer.
    """
    if len(text) > LONGEST_JSON:
        raise UserError(f"The model's configuration has {len(text):,} bytes; at most {LONGEST_JSON:,} are read.")
    try:
        config = json.loads(text)
    except RecursionError:
        raise nested_too_deeply() from None
    except ValueError as error:
        raise UserError(f"The model's configuration is damaged: {error}. Save the model again.") from None
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict | list):
        raise UserError("The model's configuration does not describe a network. Save the model again.")
    for number, (value, depth, layer) in enumerate(values_of(config)):
        if number > MOST_VALUES:
            raise UserError(f"The model's configuration has more than {MOST_VALUES:,} values, which no network has.")
        if depth > DEEPEST:
            raise nested_too_deeply()
        if isinstance(value, dict) and "class_name" in value:
            modernise(value)
            check_object(value, layer)
            value.pop("compile_config", None)
    return config


def values_of(config: Any) -> Iterator[tuple[Any, int, str]]:
    """All values, how deep they lie, and the name of the innermost object with a name that they are in.

    A value comes before those in it, so that the caller can take some out.
    """
    waiting = [(config, 0, "")]
    while waiting:
        value, depth, layer = waiting.pop()
        if isinstance(value, dict):
            inner = value.get("config")
            named = inner.get("name") if isinstance(inner, dict) else None
            layer = named[:80] if isinstance(named, str) and "class_name" in value else layer
        yield value, depth, layer
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(child, depth + 1, layer) for child in children]


def check_object(found: dict[str, Any], layer: str) -> None:
    name, module = found["class_name"], found.get("module")
    if not isinstance(name, str) or not isinstance(module, str | None):
        raise UserError(f"The model's configuration is damaged: a class of {layer!r} has no name. Save it again.")
    if reason := REASONS.get(name):
        raise UserError(f"{described(layer, name)} {reason}. {EXPORT}")
    if name in VALUES:
        return
    if name == "function":
        check_function(found, layer)
        return
    registered = found.get("registered_name")
    allowed = is_ours(module, name) if "module" in found else is_known_without_module(name)
    if not allowed or registered not in (None, name):
        shown = ".".join(str(part)[:80] for part in (module, name) if part)
        raise UserError(
            f"{described(layer, shown)} is no class of Keras {version()}, and its code is not here. {EXPORT}"
        )


def check_function(found: dict[str, Any], layer: str) -> None:
    module, function = found.get("module"), found.get("config")
    modules = FUNCTIONS if module == BUILT_IN else (module,) if module in FUNCTIONS else ()
    if not isinstance(function, str) or not any(function in public_names(name) for name in modules):
        shown = f"{str(module)[:80]}.{str(function)[:80]}"
        raise UserError(f"{described(layer, shown)} is a function that is not one of Keras's own. {EXPORT}")


def is_ours(module: str | None, name: str) -> bool:
    if module in LISTED:
        return name[:1].isupper() and name in public_names(module)
    if module in OPERATIONS:
        return name.isidentifier() and name[:1].isupper()
    if module is not None and OF_APPLICATIONS.get(name) == module:
        return True
    return (module in NETWORK_MODULES and name in NETWORKS) or (module in POLICY_MODULES and name in POLICIES)


def is_known_without_module(name: str) -> bool:
    return name in NETWORKS | POLICIES or any(is_ours(module, name) for module in WITHOUT_MODULE)


@cache
def public_names(module: str) -> frozenset[str]:
    """What a public module of the installed Keras exports."""
    path = Path(str(distribution("keras").locate_file(f"{module.replace('.', '/')}/__init__.py")))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    return frozenset(alias.asname or alias.name for node in imported for alias in node.names)


def version() -> str:
    return distribution("keras").version


def described(layer: str, name: str) -> str:
    return f"The layer {layer!r} of the model ({name})" if layer else f"The model ({name})"


def nested_too_deeply() -> UserError:
    return UserError("The model's configuration has lists or objects that are nested too deeply. Save the model again.")
