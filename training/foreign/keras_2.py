"""What Keras 2 wrote in configurations otherwise than Keras 3 reads it, and layers whose module `.h5` files lack.

Each was found by loading networks that tf_keras 2.21 and Keras 3.15.1 had saved (`benchmarks.imports`).
"""

from typing import Any

NETWORKS = {  # module of Keras 2, also behind `tf_` -> of Keras 3
    f"{package}.{name}": f"keras.src.models.{name}"
    for package in ("keras.src.engine", "keras.engine")
    for name in ("functional", "sequential")
}
OF_APPLICATIONS = {  # layers that keras.applications defines for itself, in no public module
    **dict.fromkeys(("LayerScale", "StochasticDepth"), "keras.src.applications.convnext"),
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
}


def modernise(found: dict[str, Any]) -> None:
    """Change an object of a configuration, which has a `class_name`, to what Keras 3 writes for it."""
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
                config[ends] = without_list_of_one(config[ends])
    if name == "DepthwiseConv2D":
        config.pop("groups", None)  # which was always 1; Teachable Machine's exports have it
    if name == "BatchNormalization" and isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    if isinstance(module, str) and name != "InputLayer":
        config.pop("batch_input_shape", None)  # the InputLayer before it has the same


def without_list_of_one(tensors: Any) -> Any:
    """[["dense", 0, 0]], the one tensor that a network takes or gives, as Keras 2 always wrote it -> ["dense", 0, 0].

    Keras 3 would read a network that gives a list, which the next layer cannot take.
    """
    return tensors[0] if isinstance(tensors, list) and len(tensors) == 1 and isinstance(tensors[0], list) else tensors
