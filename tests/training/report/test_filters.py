"""What a network looks for, as a picture."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from models.bundle.manifest import BrokenBundle
from models.networks.summary import outline
from tests.conftest import Training
from tests.images import encode, noise
from training.fit.checkpoint import load_weights
from training.network.bundle_weights import load_network
from training.report.filters import MAX_TILES, draw, filter_tiles, map_tiles, stages
from training.report.image_grid import COLUMNS, GAP, MARGIN, TILE, TITLE


def test_a_bundles_network_is_built_again_to_the_bit(digits_training: Training) -> None:
    network, manifest = load_network(digits_training.run / "bundle")
    saved = keras.models.clone_model(network)
    load_weights(digits_training.run / "best.weights.npz", saved)
    assert manifest.architecture == "lenet5"
    for mine, theirs in zip(network.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_broken_bundle_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(BrokenBundle, match="has no manifest"):
        load_network(tmp_path)


def test_the_picture_shows_the_image_the_filters_and_every_stage(digits_training: Training) -> None:
    bundle = digits_training.run / "bundle"
    picture = draw(bundle)
    network, _ = load_network(bundle)
    assert [layer.name for layer in stages(network)] == ["c1", "s2", "c3", "s4"]
    assert picture.width == 2 * MARGIN + COLUMNS * (TILE + GAP)
    assert picture.height == 2 * MARGIN + (2 + 4) * (TITLE + TILE + GAP + MARGIN)
    kernel = np.asarray(network.get_layer("c1").kernel)
    top = 2 * MARGIN + 2 * TITLE + TILE + GAP
    for i, tile in enumerate(filter_tiles(kernel)):
        left = MARGIN + i * (TILE + GAP)
        drawn = np.asarray(picture.crop((left, top, left + TILE, top + TILE)).resize((5, 5), Image.Resampling.NEAREST))
        np.testing.assert_array_equal(drawn, tile)


def test_a_stage_of_a_branching_network_is_what_its_branches_join_to() -> None:
    assert [layer.output.shape[1:] for layer in stages(outline("resnet50"))][1:] == [
        (56, 56, 256),
        (28, 28, 512),
        (14, 14, 1024),
        (7, 7, 2048),
    ]
    widths = {layer.output.shape[1]: layer.output.shape[3] for layer in stages(outline("inception_v3"))}
    assert (widths[35], widths[17], widths[8]) == (288, 768, 2048)


def test_another_image_has_other_maps_and_the_same_filters(digits_training: Training, tmp_path: Path) -> None:
    bundle = digits_training.run / "bundle"
    (tmp_path / "noise.png").write_bytes(encode(noise(40, 40)))
    golden, other = np.asarray(draw(bundle)), np.asarray(draw(bundle, tmp_path / "noise.png"))
    filters_end = MARGIN + 2 * (TITLE + TILE + GAP + MARGIN)
    filters_start = MARGIN + TITLE + TILE + GAP + MARGIN
    np.testing.assert_array_equal(golden[filters_start:filters_end], other[filters_start:filters_end])
    assert (golden[filters_end:] != other[filters_end:]).any()


def test_filters_of_three_channels_are_in_colour_and_zero_is_mid_grey() -> None:
    kernel = np.zeros((2, 2, 3, 2), np.float32)
    kernel[0, 0, 0, 0] = 4  # red
    kernel[1, 1, 2, 0] = -2  # the opposite of half blue
    first, second = filter_tiles(kernel)
    assert first[0, 0].tolist() == [255, 128, 128]
    assert first[1, 1].tolist() == [128, 128, 64]
    assert (second == 128).all()


@pytest.mark.parametrize(("channels", "filters", "expected"), [(1, 6, 6), (4, 3, 12), (3, 200, MAX_TILES)])
def test_other_filters_have_a_grey_tile_for_each_channel(channels: int, filters: int, expected: int) -> None:
    tiles = filter_tiles(np.ones((3, 3, channels, filters), np.float32))
    assert [tile.shape for tile in tiles] == [(3, 3, 3)] * expected


def test_a_map_goes_from_black_to_white_and_a_flat_one_is_black() -> None:
    maps = np.stack([np.array([[-1, 0], [1, 3]]), np.full((2, 2), 7)], axis=-1).astype(np.float32)
    ramp, flat = map_tiles(maps)
    assert ramp[:, :, 0].tolist() == [[0, 64], [128, 255]]
    assert (flat == 0).all()
