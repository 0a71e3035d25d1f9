"""Explanations of networks whose reasons are known: they look for red and for blue pixels."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as ov

from models.insight.explanation import TooSlow, explain
from models.insight.network import Network

SIDE = 32
RED, GREEN, BLUE = range(3)
FOREVER = float("inf")
Layers = Callable[[Any], Any]


def averaged(images: Any) -> Any:
    """Logits (N, 3): how much red, green and blue there is on average."""
    return ov.multiply(ov.reduce_mean(images, [1, 2], False), np.float32(40))


def averaged_at_two_sizes(images: Any) -> Any:
    """The same, of which green is told from every second pixel."""
    smaller = ov.strided_slice(images, [0, 0, 0, 0], [0, 0, 0, 0], [1, 2, 2, 1], [1] * 4, [1] * 4)
    joined = ov.concat([ov.reduce_mean(images, [1, 2], False), ov.reduce_mean(smaller, [1, 2], False)], 1)
    weights = np.zeros((6, 3), np.float32)
    weights[0, RED] = weights[4, GREEN] = weights[2, BLUE] = 40
    return ov.matmul(joined, weights, False, False)


def brightest(images: Any) -> Any:
    """How red, green and blue the place is that is it most."""
    blurred = ov.avg_pool(ov.transpose(images, [0, 3, 1, 2]), [1, 1], [2, 2], [2, 2], [5, 5], True)
    return ov.multiply(ov.reduce_max(blurred, [2, 3], False), np.float32(8))


def averaged_and_bent(images: Any) -> Any:
    """Averages, and no linear layers after them."""
    return ov.multiply(ov.power(ov.reduce_mean(images, [1, 2], False), np.float32(2)), np.float32(60))


def network(folder: Path, layers: Layers) -> Network:
    images = ov.parameter([-1, SIDE, SIDE, 3], np.uint8)
    logits = layers(ov.divide(ov.convert(images, "f32"), np.float32(255)))
    probabilities = ov.softmax(logits, 1)
    probabilities.output(0).set_names({"probabilities"})
    openvino.save_model(openvino.Model([probabilities], [images]), folder / "model.xml", compress_to_fp16=False)
    return Network(folder / "model.xml")


def picture(**squares: tuple[int, int]) -> np.ndarray:
    """uint8 (SIDE, SIDE, 3): grey, with squares of 6 pixels whose corner is given, by colour."""
    image = np.full((SIDE, SIDE, 3), 60, np.uint8)
    for colour, (row, column) in squares.items():
        value = [20, 20, 20]
        value[("red", "green", "blue").index(colour)] = 250
        image[row : row + 6, column : column + 6] = value
    return image


def strongest(values: np.ndarray) -> tuple[float, float]:
    """Row and column of the highest value, in pixels of the image."""
    row, column = np.unravel_index(values.argmax(), values.shape)
    height, width = values.shape
    return (row + 0.5) * SIDE / height, (column + 0.5) * SIDE / width


def is_inside(place: tuple[float, float], corner: tuple[int, int]) -> bool:
    """Within two pixels of the square."""
    return all(start - 2 <= at <= start + 8 for at, start in zip(place, corner, strict=True))


@pytest.mark.parametrize(
    ("layers", "method"),
    [
        (averaged, "class_activation"),
        (averaged_at_two_sizes, "class_activation"),
        (averaged_and_bent, "random_masks"),
        (brightest, "random_masks"),
    ],
)
def test_what_decides_is_found_for_every_class_that_is_asked_for(layers: Layers, method: str, tmp_path: Path) -> None:
    looked_at = network(tmp_path, layers)
    for corner, other in (((3, 20), (22, 4)), ((18, 9), (1, 1)), ((24, 24), (4, 12))):
        image = picture(red=corner, blue=other)
        for index, expected in ((RED, corner), (BLUE, other)):
            found = explain(looked_at, image, index, FOREVER, is_multi=False)
            assert (found.method, found.index) == (method, index)
            assert is_inside(strongest(found.values), expected), (corner, index)
            assert found.probability == pytest.approx(looked_at.probabilities(image[None])[0, index], abs=1e-5)


def test_the_parts_of_all_places_are_the_logits(tmp_path: Path) -> None:
    looked_at = network(tmp_path, averaged_at_two_sizes)
    image = picture(red=(3, 20), green=(20, 3))
    assert looked_at.class_activation is not None
    found_parts = looked_at.class_activation.maps(image)
    assert found_parts is not None
    parts, whole = found_parts
    assert [part.shape for part in parts] == [(32, 32, 3), (16, 16, 3)]
    logits = sum(part.sum(axis=(0, 1)) for part in parts)
    np.testing.assert_allclose(logits, whole, atol=1e-3)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(probabilities, looked_at.probabilities(image[None])[0], atol=1e-4)
    found = explain(looked_at, image, GREEN, FOREVER, is_multi=False)
    against_others = logits[GREEN] - logits @ probabilities
    assert found.values.sum() == pytest.approx(against_others, abs=1e-3)  # joined at the larger size


def test_a_place_that_speaks_for_another_class_speaks_against_this_one(tmp_path: Path) -> None:
    found = explain(network(tmp_path, averaged), picture(red=(3, 20), blue=(22, 4)), RED, FOREVER, is_multi=False)
    assert found.values[5, 22] > 0 > found.values[24, 6]


def test_without_a_class_the_most_probable_is_explained(tmp_path: Path) -> None:
    assert explain(network(tmp_path, averaged), picture(green=(9, 9)), None, FOREVER, is_multi=False).index == GREEN


def test_labels_that_do_not_exclude_each_other_are_explained_alone(tmp_path: Path) -> None:
    found = explain(network(tmp_path, averaged), picture(red=(3, 20), blue=(22, 4)), RED, FOREVER, is_multi=True)
    assert found.values.min() >= 0


def test_random_masks_end_in_time_or_say_how_far_they_came(tmp_path: Path) -> None:
    looked_at = network(tmp_path, brightest)
    with pytest.raises(TooSlow, match=r"^0$"):
        explain(looked_at, picture(red=(9, 9)), None, time.monotonic(), is_multi=False)
    assert explain(looked_at, picture(red=(9, 9)), None, FOREVER, is_multi=False).passes == 801


def test_the_same_image_has_the_same_explanation(tmp_path: Path) -> None:
    looked_at = network(tmp_path, brightest)
    maps = [explain(looked_at, picture(red=(9, 9)), RED, FOREVER, is_multi=False).map for _ in range(2)]
    assert maps[0] == maps[1]
