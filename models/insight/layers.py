"""What each stage of a network makes of an image: its feature maps, found in the graph by their values.

LAYERS is JSON, written when a bundle is made: the network's table as `striate describe` prints it, and for each stage
its name, its filters and the mean of each of its maps for one golden image. OpenVINO gives the operations of a graph
other names than their layers, and merges some. So a stage is the operation whose maps have these means.
"""

import io
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from models.bundle.manifest import GOLDEN, BrokenBundle, read_manifest
from models.bundle.preprocessing import decode_image
from models.insight.graph import compiled

LAYERS = Path("assets.extra/layers.json")
NEAR = 0.01  # how far means may be from those expected, as a share of the largest
MOST_MAPS = 24  # of a stage, that are drawn
COLUMNS = 12
LARGEST = 48  # pixels of a drawn map's side
GAP = 1
MOST_CANDIDATES = 16  # operations of one shape, the last ones, among which a stage is looked for


class Layer(msgspec.Struct):
    """A row of a network's table; shapes and kernels without the batch, None where there is none."""

    name: str
    kind: str
    output: tuple[int, ...]
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    parameters: int
    macs: int


class Stage(msgspec.Struct):
    """The last layer at one size of feature maps.

    Attributes:
        means: of each map for the golden image, in its channels' order.
        filters: of the convolution that makes the maps, or of the one before, as a PNG; None where there is none.
    """

    name: str
    height: int
    width: int
    means: list[float]
    filters: bytes | None


class Layers(msgspec.Struct):
    """
    Attributes:
        image: name of the golden image.
    """

    image: str
    table: list[Layer]
    stages: list[Stage]


class Drawn(msgspec.Struct):
    """The maps of one stage for one image: the first `shown` of `maps`, as one PNG, each from black to white."""

    name: str
    height: int
    width: int
    maps: int
    shown: int
    png: bytes


def read_layers(bundle: Path) -> Layers | None:
    """None of a bundle that has none.

    Raises:
        BrokenBundle: the file is damaged.
    """
    try:
        return msgspec.json.decode((bundle / LAYERS).read_bytes(), type=Layers)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise BrokenBundle(f"{bundle / LAYERS} is damaged ({error}); export again.") from None


class Stages:
    """The stages of a bundle's network, in float32.

    Raises:
        RuntimeError: OpenVINO cannot read the bundle.
        BrokenBundle: a file of it is damaged.
    """

    def __init__(self, bundle: Path, layers: Layers) -> None:
        openvino = import_module("openvino")
        core = openvino.Core()
        model = core.read_model(bundle)
        outputs: dict[tuple[int, ...], list[Any]] = {}
        for output in outputs_of(model):
            outputs.setdefault(shape_of(output), []).append(output)
        shapes = {(stage.height, stage.width, len(stage.means)) for stage in layers.stages}
        candidates = [output for shape in shapes for output in outputs.get(shape, [])[-MOST_CANDIDATES:]]
        image = decode_image((bundle / GOLDEN / layers.image).read_bytes(), read_manifest(bundle).input_spec)
        seen = compiled(core, openvino.Model(candidates, model.get_parameters())).infer([image[None]])
        maps = [in_rows(np.array(seen[i])) for i in range(len(candidates))]
        found = [(stage, place) for stage in layers.stages if (place := place_of(stage, maps)) is not None]
        self._stages = [stage for stage, _ in found]
        chosen = [candidates[place] for _, place in found]
        self._request = compiled(core, openvino.Model(chosen, model.get_parameters())) if chosen else None

    def draw(self, image: np.ndarray) -> list[Drawn]:
        """Of each stage that was found, for a uint8 image (H, W, C) of the network's shape."""
        if self._request is None:
            return []
        seen = self._request.infer([image[None]])
        return [drawn(stage, in_rows(np.array(seen[i]))) for i, stage in enumerate(self._stages)]


def outputs_of(model: Any) -> list[Any]:
    return [node.output(0) for node in model.get_ordered_ops() if node.get_type_name() not in ("Result", "Constant")]


def shape_of(output: Any) -> tuple[int, ...]:
    """(h, w, maps) of feature maps (N, maps, h, w), as OpenVINO lays them out; empty of anything else."""
    shape = output.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != 4 or any(side.is_dynamic for side in list(shape)[1:]):
        return ()
    maps, height, width = (side.get_length() for side in list(shape)[1:])
    return height, width, maps


def in_rows(maps: np.ndarray) -> np.ndarray:
    """(1, maps, h, w) -> (h, w, maps)."""
    return np.moveaxis(maps[0], 0, -1)


def place_of(stage: Stage, maps: list[np.ndarray]) -> int | None:
    """Which of the feature maps are the stage's; None where none has its means."""
    expected = np.array(stage.means)
    size = (stage.height, stage.width, len(expected))
    away = [float(np.abs(found.mean((0, 1)) - expected).max()) if found.shape == size else np.inf for found in maps]
    nearest = int(np.argmin(away)) if away else 0
    return nearest if away and away[nearest] <= NEAR * (float(np.abs(expected).max()) + NEAR) else None


def drawn(stage: Stage, maps: np.ndarray) -> Drawn:
    shown = shades(maps)[:, :, :MOST_MAPS]
    tiles = [Image.fromarray(np.ascontiguousarray(shown[:, :, i])) for i in range(shown.shape[2])]
    height, width, number = maps.shape
    return Drawn(stage.name, height, width, number, len(tiles), png_of(grid(tiles)))


def shades(maps: np.ndarray) -> np.ndarray:
    """uint8 (h, w, maps): each map from its smallest value in black to its largest in white."""
    low, high = maps.min(axis=(0, 1)), maps.max(axis=(0, 1))
    found: np.ndarray = np.rint(255 * (maps - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)
    return found


def grid(tiles: list[Image.Image]) -> Image.Image:
    """Tiles of one size in rows, with a transparent gap; larger ones are made smaller."""
    for tile in tiles:
        tile.thumbnail((LARGEST, LARGEST))
    width, height = (side + GAP for side in tiles[0].size)
    columns = min(COLUMNS, len(tiles))
    sheet = Image.new("RGBA", (columns * width - GAP, -(-len(tiles) // columns) * height - GAP))
    for i, tile in enumerate(tiles):
        sheet.paste(tile.convert("RGBA"), (i % columns * width, i // columns * height))
    return sheet


def png_of(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
