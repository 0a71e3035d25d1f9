"""The network inside a bundle, as Keras has it: built again by name, and given the SavedModel's variables."""

from pathlib import Path

import keras

from models.bundle.manifest import IMPORTED, BrokenBundle, Manifest, NotForThisModel, verify
from models.networks.registry import build


def load_network(bundle: Path) -> tuple[keras.Model, Manifest]:
    """The float32 network, uint8 images (B, H, W, C) -> logits, and the manifest.

    No code of the bundle's is run: its checkpoint is read as numbers.

    Raises:
        BrokenBundle: it does not verify, or its variables are not those of its architecture.
        NotForThisModel: it was imported.
    """
    manifest = verify(bundle)
    if manifest.architecture == IMPORTED:
        raise NotForThisModel(
            f"{manifest.model} was imported, and its network is not one of Striate's, whose layers it knows by name "
            "(`striate networks`): it can be served, scored and evaluated."
        )
    network = build(
        manifest.architecture,
        input_shape=manifest.input_spec.shape,
        num_classes=len(manifest.class_names),
        scaling=manifest.scaling,
        multi_stage=manifest.multi_stage,
    )
    assign_variables(network, bundle)
    return network, manifest


def assign_variables(network: keras.Model, bundle: Path) -> None:
    """Give a network the variables of a SavedModel that was exported from another like it."""
    import tensorflow as tf

    checkpoint = tf.train.load_checkpoint(str(bundle / "variables" / "variables"))
    names = [f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(len(network.variables))]
    shapes = checkpoint.get_variable_to_shape_map()
    if [tuple(shapes.get(name, ())) for name in names] != [tuple(variable.shape) for variable in network.variables]:
        raise BrokenBundle(f"{bundle} does not hold the variables of {network.name}; export it again.")
    for name, variable in zip(names, network.variables, strict=True):
        variable.assign(checkpoint.get_tensor(name))
