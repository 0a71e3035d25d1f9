"""Augmentation: by how much, how often, and always the same for the same (seed, epoch, image)."""

import numpy as np
import pytest

from tests.images import noise
from training.augment import (
    MID_GREY,
    Augmentation,
    augment,
    colour_components,
    normals,
    reflected,
    spread,
    uniforms,
)

NOTHING = Augmentation(flip=False, shift=0, contrast=0, brightness=0)
FLIP = Augmentation(flip=True, shift=0, contrast=0, brightness=0)
SHIFT = Augmentation(flip=False, shift=0.25, contrast=0, brightness=0)
CONTRAST = Augmentation(flip=False, shift=0, contrast=0.2, brightness=0)
BRIGHTNESS = Augmentation(flip=False, shift=0, contrast=0, brightness=0.1)
EVERYTHING = Augmentation()
IMAGES = noise(200, 12, 8, 3)
ROWS = np.arange(200)


def augmented(augmentation: Augmentation, *, seed: int = 1, epoch: int = 2, images: np.ndarray = IMAGES) -> np.ndarray:
    return augment(images, ROWS[: len(images)], seed=seed, epoch=epoch, augmentation=augmentation)


def test_an_image_is_changed_alike_whatever_batch_it_comes_in() -> None:
    order = np.random.default_rng(0).permutation(200)
    whole = augmented(EVERYTHING)
    pieces = [augment(IMAGES[r], r, seed=1, epoch=2, augmentation=EVERYTHING) for r in np.split(order, 8)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole[order])


@pytest.mark.parametrize(("seed", "epoch"), [(1, 3), (2, 2), (2, 1), (0, 0)])
def test_another_seed_or_epoch_changes_images_otherwise(seed: int, epoch: int) -> None:
    differs = (augmented(EVERYTHING) != augmented(EVERYTHING, seed=seed, epoch=epoch)).any(axis=(1, 2, 3))
    assert differs.mean() > 0.95


def test_the_images_that_came_are_left_as_they_were() -> None:
    before = IMAGES.copy()
    augmented(EVERYTHING)
    np.testing.assert_array_equal(IMAGES, before)


def test_with_everything_off_nothing_changes() -> None:
    np.testing.assert_array_equal(augmented(NOTHING), IMAGES)


@pytest.mark.parametrize("augmentation", [NOTHING, FLIP, SHIFT, CONTRAST, BRIGHTNESS, EVERYTHING], ids=str)
@pytest.mark.parametrize("shape", [(3, 12, 8, 3), (3, 1, 1, 1), (1, 2, 3, 1)])
def test_shape_and_type_stay(augmentation: Augmentation, shape: tuple[int, ...]) -> None:
    got = augmented(augmentation, images=noise(*shape))
    assert got.shape == shape
    assert got.dtype == np.uint8


def test_about_half_of_the_images_are_mirrored_and_the_others_left() -> None:
    got = augmented(FLIP)
    mirrored = (got == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    assert 70 < mirrored.sum() < 130
    np.testing.assert_array_equal(got[~mirrored], IMAGES[~mirrored])


def test_an_image_moves_by_every_distance_up_to_the_bound_and_no_further() -> None:
    """The centre pixel of a 12x8 image that counts its pixels says where it came from."""
    counted = np.broadcast_to(np.arange(96, dtype=np.uint8).reshape(1, 12, 8, 1), (200, 12, 8, 1))
    down, right = np.divmod(augmented(SHIFT, images=counted)[:, 6, 4, 0], 8)
    assert set(down.tolist()) == set(range(6 - 3, 6 + 3 + 1))
    assert set(right.tolist()) == set(range(4 - 2, 4 + 2 + 1))


def test_what_comes_in_at_the_edge_is_the_mirrored_image() -> None:
    assert reflected(np.arange(4) + np.array([[0], [1], [2], [-1], [-2]]), 4).tolist() == [
        [0, 1, 2, 3],
        [1, 2, 3, 2],
        [2, 3, 2, 1],
        [1, 0, 1, 2],
        [2, 1, 0, 1],
    ]


def test_every_distance_is_as_likely() -> None:
    counts = np.unique(spread(np.linspace(0, 1, 7000, endpoint=False), 3.9), return_counts=True)
    assert counts[0].tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert counts[1].tolist() == [1000] * 7


def test_brightness_moves_all_pixels_of_an_image_alike_and_within_its_bound() -> None:
    offsets = augmented(BRIGHTNESS, images=np.full((200, 4, 4, 1), 128, np.uint8)).astype(int) - 128
    assert (offsets == offsets[:, :1, :1, :1]).all()
    assert offsets.min() in (-26, -25, -24)
    assert offsets.max() in (24, 25, 26)


def test_contrast_scales_the_distance_from_the_mean_within_its_bound() -> None:
    pair = np.tile(np.array([78, 178], np.uint8), 200).reshape(200, 1, 2, 1)
    got = augmented(CONTRAST, images=pair).astype(int)
    np.testing.assert_allclose(got.mean(axis=(1, 2, 3)), 128, atol=1)
    distances = got[:, 0, 1, 0] - got[:, 0, 0, 0]
    assert 78 <= distances.min() < 85
    assert 115 < distances.max() <= 122


def test_tones_are_rounded_so_that_images_do_not_darken_on_average() -> None:
    grey = np.full((200, 4, 4, 1), 128, np.uint8)
    symmetric = [augmented(BRIGHTNESS, images=grey, seed=seed).mean() - 128 for seed in range(40)]
    assert abs(np.mean(symmetric)) < 0.25


def test_tones_are_clipped_and_do_not_wrap_around() -> None:
    for level in (0, 255):
        got = augmented(Augmentation(False, 0, 1, 1), images=np.full((200, 2, 2, 1), level, np.uint8))
        assert got.min() == 0 if level == 0 else got.max() == 255
        assert (np.abs(got.astype(int) - level) <= 255).all()
    bright = augmented(BRIGHTNESS, images=np.full((200, 2, 2, 1), 255, np.uint8))
    assert bright.min() >= 229


def test_random_numbers_are_uniform_and_independent() -> None:
    numbers = uniforms(0, 0, np.arange(20_000), 5)
    assert numbers.shape == (20_000, 5)
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(axis=0), 0.5, atol=0.01)
    correlations = np.corrcoef(np.concatenate([numbers, uniforms(0, 1, np.arange(20_000), 5)], axis=1).T)
    assert np.abs(correlations - np.eye(10)).max() < 0.03


def test_a_grey_edge_is_what_the_mirrored_one_would_fill() -> None:
    grey = Augmentation(flip=True, shift=0.25, edge="grey", contrast=0, brightness=0)
    mirrored = Augmentation(flip=True, shift=0.25, contrast=0, brightness=0)
    with_grey, with_mirror = augmented(grey), augmented(mirrored)
    filled = (with_grey != with_mirror).any(axis=-1)
    assert (with_grey[filled] == MID_GREY).all()
    rows, columns = filled.all(axis=2), filled.all(axis=1)  # only whole rows and columns at one end are filled
    assert rows.any()
    assert columns.any()
    assert filled[:, 4:8, 3:5].sum() == 0  # a shift of a quarter leaves the middle alone


def test_colour_noise_adds_one_colour_to_a_whole_image() -> None:
    images = np.full((50, 4, 4, 3), 128, np.uint8)
    components = np.diag([0.0, 0.0, 100.0])  # the training pixels differ in blue alone
    noisy = Augmentation(flip=False, shift=0, contrast=0, brightness=0, colour=0.1)
    got = augment(images, np.arange(50), seed=1, epoch=2, augmentation=noisy, components=components)
    assert (got[..., :2] == 128).all()
    blues = got[:, :, :, 2].reshape(50, -1).astype(int)
    assert (blues == blues[:, :1]).all()
    assert 6 < blues[:, 0].std() < 14  # a tenth of 100
    assert len(set(blues[:, 0])) > 20


def test_colour_components_are_directions_as_long_as_the_pixels_deviate() -> None:
    rng = np.random.default_rng(0)
    grey = rng.normal(128, 20, (30, 40, 40, 1))
    images = np.clip(grey, 0, 255).astype(np.uint8).repeat(3, axis=-1)
    lengths = np.linalg.norm(colour_components(images), axis=1)
    assert lengths[:2] == pytest.approx([0, 0], abs=0.1)
    assert lengths[2] == pytest.approx(20 * 3**0.5, rel=0.05)
    assert colour_components(images[..., :1]).shape == (1, 1)


def test_normals_are_normal() -> None:
    drawn = normals(*uniforms(1, 2, np.arange(20_000), 2).T)
    assert abs(drawn.mean()) < 0.03
    assert drawn.std() == pytest.approx(1, abs=0.02)
    assert (np.abs(drawn) < 1.96).mean() == pytest.approx(0.95, abs=0.01)
