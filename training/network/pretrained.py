"""Transfer learning: initialises a network with a bundle's weights, except layers whose shape or classes differ."""

from pathlib import Path

import keras

from models.errors import UserError
from training.network.bundle_weights import load_network


def transfer_weights(
    network: keras.Model, bundle: Path, class_names: tuple[str, ...]
) -> tuple[int, list[keras.Variable]]:
    """Give a network the weights of a bundle's, layer by layer, where shapes agree.

    The last layer is taken over only where the classes are the same: answers of another number or order mean others.

    Args:
        network: of the bundle's architecture, without auxiliary heads.

    Returns:
        The number of layers whose weights are the old model's, and the weights of all others.

    Raises:
        BrokenBundle: the bundle does not verify.
        UserError: it holds another network, or none of its layers fits.
    """
    source, manifest = load_network(bundle)
    ours, theirs = ([layer for layer in model.layers if layer.weights] for model in (network, source))
    if len(ours) != len(theirs):
        raise UserError(f"{bundle} holds {manifest.architecture}, whose layers are not those of {network.name}.")
    new: list[keras.Variable] = []
    num_taken = 0
    for mine, given in zip(ours, theirs, strict=True):
        fits = [w.shape for w in mine.weights] == [w.shape for w in given.weights]
        if fits and (mine is not ours[-1] or manifest.class_names == class_names):
            mine.set_weights(given.get_weights())
            num_taken += 1
        else:
            new += mine.trainable_variables
    if not num_taken:
        raise UserError(f"No layer of {bundle} has the shapes that this input and these classes need.")
    return num_taken, new
