"""What Keras 2 wrote into a configuration otherwise than Keras 3 reads it, and where Keras 3 reads not what it wrote.

Each was found by loading networks that tf_keras 2.21 and Keras 3.15.1 had saved (`benchmarks.imports`).
"""

from typing import Any

NETWORKS = {  # module of Keras 2, also behind `tf_` -> of Keras 3
    f"{package}.{name}": f"keras.src.models.{name}"
    for package in ("keras.src.engine", "keras.engine")
    for name in ("functional", "sequential")
}
CONVNEXT = "keras.src.applications.convnext"


def modernise(found: dict[str, Any]) -> None:
    """Change an object of a configuration, which has a `class_name`, to what Keras 3 writes for it."""
    name, module, config = found["class_name"], found.get("module"), found.get("config")
    of_keras_2 = module is None or (isinstance(module, str) and module.removeprefix("tf_") in NETWORKS)
    if isinstance(module, str):
        found["module"] = NETWORKS.get(module.removeprefix("tf_"), module)
    if not isinstance(config, dict):
        return
    if name in ("Functional", "Model") and of_keras_2:
        for ends in ("input_layers", "output_layers"):
            config[ends] = without_list_of_one(config.get(ends))
    if name == "LayerScale" and module is None:  # ConvNeXt's, which no .h5 file can name
        found |= {"module": CONVNEXT, "registered_name": name}
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
