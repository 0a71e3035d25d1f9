"""The table of a trained network and its stages, for the page that shows what each of them makes of an image."""

import re
from pathlib import Path

import keras
import msgspec
import numpy as np
from PIL import Image

from models.bundle.manifest import GOLDEN
from models.bundle.preprocessing import InputSpec, decode_image
from models.files.durable import write_durably
from models.insight.layers import LAYERS, MOST_MAPS, Layer, Layers, Stage, grid, png_of
from models.networks.summary import Row, describe
from training.report.filters import feature_maps, filter_tiles, first_golden, stages


def write_layers(bundle: Path, network: keras.Model, spec: InputSpec) -> None:
    """Into a bundle that has its golden images."""
    golden = first_golden(bundle)
    pixels = decode_image(golden.read_bytes(), spec)
    table = [
        Layer(named(row), row.kind, row.output_shape, row.kernel, row.stride, row.parameters, row.macs)
        for row in describe(network).rows
    ]
    found = [
        Stage(layer.name, len(maps), maps.shape[1], maps.mean((0, 1)).tolist(), filters(network, layer))
        for layer, maps in zip(stages(network), feature_maps(network, pixels), strict=True)
    ]
    layers = Layers(golden.relative_to(bundle / GOLDEN).as_posix(), table, found)
    write_durably(bundle / LAYERS, msgspec.json.encode(layers).decode())


def named(row: Row) -> str:
    """Its name, without the number that Keras gives to layers that nobody has named."""
    return re.sub(rf"^({row.kind.lower()})_\d+$", r"\1", row.name)


def filters(network: keras.Model, stage: keras.Layer) -> bytes | None:
    """Of the last convolution up to a layer, as a PNG, one tile a filter; None where there is nothing to be seen.

    A filter with many channels is drawn as their mean.
    """
    before = network.layers[: network.layers.index(stage) + 1]
    convolutions = [layer for layer in before if isinstance(layer, keras.layers.Conv2D)]
    if not convolutions or convolutions[-1].kernel_size == (1, 1):
        return None
    kernel = np.asarray(convolutions[-1].kernel)
    if kernel.shape[2] != 3:
        kernel = kernel.mean(axis=2, keepdims=True)
    return png_of(grid([Image.fromarray(tile) for tile in filter_tiles(kernel)[:MOST_MAPS]]))
