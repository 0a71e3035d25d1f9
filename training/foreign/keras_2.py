"""What Keras 2 wrote in configurations otherwise than Keras 3 reads it, and layers whose module `.h5` files lack.

Each was found by loading networks that tf_keras 2.21 and Keras 3.15.1 had saved (`benchmarks.imports`).
"""

from typing import Any

from training.foreign.arithmetic import as_operation

NETWORKS = {  # module of Keras 2, also behind `tf_` -> of Keras 3
    f"{package}.{name}": f"keras.src.models.{name}"
    for package in ("keras.src.engine", "keras.engine")
    for name in ("functional", "sequential")
}
DEPTH = 6  # of lists in each other: calls of a layer, what one takes, and a tensor among its keyword arguments
OF_APPLICATIONS = {  # layers that keras.applications defines for itself, in no public module
    **dict.fromkeys(("LayerScale", "StochasticDepth"), "keras.src.applications.convnext"),
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
}


def modernise(found: dict[str, Any]) -> None:
    """Change an object of a configuration, which has a `class_name`, to what Keras 3 writes for it."""
    without_slashes(found)
    as_operation(found)
    name, module, config = found["class_name"], found.get("module"), found.get("config")
    of_keras_2 = module is None or (isinstance(module, str) and module.removeprefix("tf_") in NETWORKS)
    if isinstance(module, str):
        found["module"] = NETWORKS.get(module.removeprefix("tf_"), module)
    if module is None and isinstance(name, str) and name in OF_APPLICATIONS:  # .h5 files name no module
        found |= {"module": OF_APPLICATIONS[name], "registered_name": name}
    if not isinstance(config, dict):
        return
    if name in ("Functional", "Model") and of_keras_2:
        for ends in ("input_layers", "output_layers"):
            if ends in config:
                config[ends] = without_slash(without_list_of_one(config[ends]))
    if name == "DepthwiseConv2D":
        config.pop("groups", None)  # which was always 1; Teachable Machine's exports have it
    if name == "BatchNormalization" and isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    if isinstance(module, str) and name != "InputLayer":
        config.pop("batch_input_shape", None)  # the InputLayer before it has the same


def without_slashes(layer: dict[str, Any]) -> None:
    """Change its name, and those of the layers before it, which in Keras 2 could have slashes."""
    config = layer.get("config")
    for named in (layer, *([config] if isinstance(config, dict) else [])):
        if isinstance(named.get("name"), str):
            named["name"] = named["name"].replace("/", "_")
    if "inbound_nodes" in layer:
        layer["inbound_nodes"] = without_slash(layer["inbound_nodes"])


def without_slash(tensors: Any, depth: int = DEPTH) -> Any:
    """Change names of layers in ["Conv/BatchNorm", 0, 0, {}], as Keras 2 speaks of a tensor, and in lists of these."""
    if not depth:
        return tensors
    if isinstance(tensors, dict):
        return {key: without_slash(value, depth - 1) for key, value in tensors.items()}
    if not isinstance(tensors, list):
        return tensors
    name = [tensors[0].replace("/", "_")] if len(tensors) > 2 and isinstance(tensors[0], str) else []
    return name + [without_slash(each, depth - 1) for each in tensors[len(name) :]]


def without_list_of_one(tensors: Any) -> Any:
    """[["dense", 0, 0]], the one tensor that a network takes or gives, as Keras 2 always wrote it -> ["dense", 0, 0].

    Keras 3 would read a network that gives a list, which the next layer cannot take.
    """
    return tensors[0] if isinstance(tensors, list) and len(tensors) == 1 and isinstance(tensors[0], list) else tensors
