"""What a network has learnt to look for: its first filters as a picture, and what each stage makes of an image."""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

from models.bundle.manifest import GOLDEN
from models.bundle.preprocessing import decode_image
from models.insight.layers import shades
from training.network.bundle_weights import load_network
from training.report.image_grid import as_rgb, sheet

MAX_TILES = 96  # filters, or maps of one stage; AlexNet's paper shows its 96 filters
JOINTS = (keras.layers.Add, keras.layers.Concatenate)
PASSED_OVER = (keras.layers.Rescaling, keras.layers.ZeroPadding2D, keras.layers.Dropout, keras.layers.SpatialDropout2D)


def draw(bundle: Path, image: Path | None = None) -> Image.Image:
    """First-layer filters, then feature maps of each stage for an image: the bundle's first golden one by default.

    Raises:
        BrokenBundle: the bundle does not verify.
        BadImage: `image` cannot be read.
        OSError: there is no such image.
    """
    network, manifest = load_network(bundle)
    data = (image or first_golden(bundle)).read_bytes()
    pixels = decode_image(data, manifest.input_spec)
    kernel = first_kernel(network)
    sections = [
        (f"{manifest.model}: {manifest.architecture}, what it sees", [as_rgb(pixels)]),
        (f"first layer: {counted(kernel, 'filters')}", filter_tiles(kernel)),
    ]
    for layer, maps in zip(stages(network), feature_maps(network, pixels), strict=True):
        sections.append((f"{layer.name}: {counted(maps, 'maps')}", map_tiles(maps)))
    return sheet(sections)


def filters_picture(network: keras.Model) -> np.ndarray | None:
    """The first layer's filters side by side, uint8 (H, W, 3); None where it has no convolution."""
    if not any(isinstance(layer, keras.layers.Conv2D) for layer in network.layers):
        return None
    return np.asarray(sheet([("", filter_tiles(first_kernel(network)))]))


def counted(pictures: np.ndarray, noun: str) -> str:
    """`16 maps of 5x5`, or `96 of 256 maps of 5x5` where not all are drawn."""
    height, width, *_, count = pictures.shape
    return f"{count if count <= MAX_TILES else f'{MAX_TILES} of {count}'} {noun} of {height}x{width}"


def first_golden(bundle: Path) -> Path:
    return min(path for path in (bundle / GOLDEN).iterdir() if path.suffix != ".json")


def first_kernel(network: keras.Model) -> np.ndarray:
    """float32 (height, width, C, filters) of the first convolution."""
    return np.asarray(next(layer.kernel for layer in network.layers if isinstance(layer, keras.layers.Conv2D)))


def filter_tiles(kernel: np.ndarray) -> list[np.ndarray]:
    """uint8 (h, w, 3) each: in colour where a filter has three channels, else one grey tile for each channel.

    Mid-grey is a weight of 0; each filter is scaled by its own largest weight.
    """
    largest = np.abs(kernel).max(axis=(0, 1, 2), keepdims=True)
    greys = np.rint(127.5 + 127.5 * kernel / np.maximum(largest, 1e-12)).astype(np.uint8)
    filters = np.moveaxis(greys, -1, 0)[:MAX_TILES]  # (filters, h, w, C)
    if filters.shape[-1] == 3:
        return list(filters)
    return [as_rgb(channel[:, :, None]) for one in filters for channel in np.moveaxis(one, -1, 0)][:MAX_TILES]


def stages(network: keras.Model) -> list[keras.Layer]:
    """The last layer at each size of feature maps; where branches join at that size, the last joint.

    (The next stage may begin with a branch at the size of this one.)
    """
    found: dict[tuple[int, int], keras.Layer] = {}
    for layer in network.layers[1:]:
        if len(layer.output.shape) == 4 and not isinstance(layer, PASSED_OVER):
            size = layer.output.shape[1:3]
            if isinstance(layer, JOINTS) or not isinstance(found.get(size), JOINTS):
                found[size] = layer
    return list(found.values())


def feature_maps(network: keras.Model, pixels: np.ndarray) -> list[np.ndarray]:
    """float32 (h, w, maps) of each stage for one uint8 image (H, W, C)."""
    extractor = keras.Model(network.input, [layer.output for layer in stages(network)])
    return [np.asarray(maps)[0] for maps in extractor.predict_on_batch(pixels[None])]


def map_tiles(maps: np.ndarray) -> list[np.ndarray]:
    """uint8 (h, w, 3) each, from a map's smallest value in black to its largest in white."""
    found = shades(maps)
    return [as_rgb(found[:, :, i : i + 1]) for i in range(min(MAX_TILES, maps.shape[-1]))]
