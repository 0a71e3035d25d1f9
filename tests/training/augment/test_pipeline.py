"""Augmentation: by how much, how often, and always the same for the same (seed, epoch, image)."""

from itertools import pairwise

import numpy as np
import pytest

from tests.images import noise
from training.augment.colour import colour_components
from training.augment.counter_rng import normals, uniforms
from training.augment.geometric import MID_GREY, CropParams, interpolate, reflected, spread, warp
from training.augment.mixup import cutmix, mixup
from training.augment.pipeline import augment, mix
from training.config.augmentation import Augmentation

NOTHING = Augmentation(flip=False, shift=0, contrast=0, brightness=0)
FLIP = Augmentation(flip=True, shift=0, contrast=0, brightness=0)
SHIFT = Augmentation(flip=False, shift=0.25, contrast=0, brightness=0)
CONTRAST = Augmentation(flip=False, shift=0, contrast=0.2, brightness=0)
BRIGHTNESS = Augmentation(flip=False, shift=0, contrast=0, brightness=0.1)
DEFAULT = Augmentation()
EVERYTHING = Augmentation(min_area=0.3, rotation=15, saturation=0.3, cutout=0.25, edge="grey")
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


@pytest.mark.parametrize("augmentation", [NOTHING, FLIP, SHIFT, CONTRAST, BRIGHTNESS, DEFAULT, EVERYTHING], ids=str)
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
        got = augmented(
            Augmentation(flip=False, shift=0, contrast=1, brightness=1), images=np.full((200, 2, 2, 1), level, np.uint8)
        )
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
    noisy = Augmentation(flip=False, shift=0, contrast=0, brightness=0, pca_noise=0.1)
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


ALTERNATING = Augmentation(flip=True, alternate=True, shift=0, contrast=0, brightness=0)


def test_alternating_flips_show_both_sides_of_every_image_in_any_two_epochs() -> None:
    epochs = [augmented(ALTERNATING, epoch=epoch) for epoch in range(4)]
    for one, next_one in pairwise(epochs):
        np.testing.assert_array_equal(next_one, one[:, :, ::-1])
    mirrored = (epochs[0] != IMAGES).any(axis=(1, 2, 3))
    assert 70 < mirrored.sum() < 130


def whole(count: int, **changes: float) -> CropParams:
    """The whole of each image, but for what is changed."""
    values = {"down": 0.0, "right": 0.0, "tall": 1.0, "wide": 1.0, "angle": 0.0, **changes}
    return CropParams(**{name: np.full(count, value) for name, value in values.items()}, mirrored=np.zeros(count, bool))


def test_a_view_of_everything_is_the_image() -> None:
    np.testing.assert_array_equal(warp(IMAGES, whole(200), "mirror"), IMAGES)


def test_a_view_turned_by_a_quarter_is_the_image_turned() -> None:
    square = noise(5, 9, 9, 3)
    turned = warp(square, whole(5, angle=np.pi / 2), "mirror")
    assert (turned == np.rot90(square, axes=(1, 2))).all() or (turned == np.rot90(square, -1, axes=(1, 2))).all()


def test_a_view_of_the_middle_is_the_middle_enlarged() -> None:
    ramp = np.broadcast_to(np.arange(0, 160, 10, dtype=np.uint8)[None, None, :, None], (2, 16, 16, 1))
    seen = warp(ramp, whole(2, tall=0.5, wide=0.5), "mirror")[0, 8, :, 0].astype(float)
    np.testing.assert_allclose(seen, 75 + (np.arange(16) - 7.5) * 5, atol=0.51)


def test_between_pixels_lies_their_mean_and_past_an_edge_the_mirrored_image() -> None:
    images = np.array([10, 30, 70], np.uint8).reshape(1, 1, 3, 1)
    xs = np.array([0.5, 1.25, -1.0, 3.0, 5.0]).reshape(1, 1, 5)
    assert interpolate(images, np.zeros((1, 1, 5)), xs).ravel().tolist() == [20, 40, 30, 30, 30]


def test_what_a_grey_edge_lets_in_is_grey() -> None:
    seen = warp(np.full((1, 8, 8, 1), 200, np.uint8), whole(1, right=4), "grey")[0, :, :, 0]
    assert (seen[:, :4] == 200).all()
    assert (seen[:, 4:] == MID_GREY).all()


def test_crops_have_the_areas_that_were_asked_for() -> None:
    """An image that counts its columns says how much of it a view has."""
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[None, None, :, None], (200, 64, 64, 1))
    got = augmented(Augmentation(flip=False, shift=0, contrast=0, brightness=0, min_area=0.25), images=ramp)
    shares = (got[:, 32, -1, 0].astype(int) - got[:, 32, 0, 0]) / 252
    assert 0.42 < shares.min() < 0.5  # sqrt(0.25 * 3/4) = 0.43
    assert shares.max() > 0.97
    assert (got.max(axis=(1, 2, 3)) - got.min(axis=(1, 2, 3)) <= 252).all()


def test_saturation_leaves_grey_alone_and_brightness_as_it_was() -> None:
    tones = Augmentation(flip=False, shift=0, contrast=0, brightness=0, saturation=0.5)
    grey = np.repeat(noise(50, 6, 6, 1), 3, axis=-1)
    np.testing.assert_allclose(augmented(tones, images=grey).astype(int), grey, atol=1)
    red = np.broadcast_to(np.array([150, 100, 100], np.uint8), (200, 2, 2, 3))
    got = augmented(tones, images=red).astype(int)
    distances = got[:, 0, 0, 0] - got[:, 0, 0, 1]
    assert 25 <= distances.min() < 30
    assert 70 < distances.max() <= 76
    np.testing.assert_allclose(got @ [0.299, 0.587, 0.114], 115, atol=1)
    assert (augmented(tones, images=noise(20, 4, 4, 1)) == noise(20, 4, 4, 1)).all()


def test_cutout_makes_one_grey_square_anywhere() -> None:
    white = np.full((200, 16, 16, 1), 255, np.uint8)
    got = augmented(Augmentation(flip=False, shift=0, contrast=0, brightness=0, cutout=0.5), images=white)
    grey = (got == MID_GREY)[..., 0]
    assert ((got == 255)[..., 0] | grey).all()
    counts = grey.sum(axis=(1, 2))
    assert counts.max() == 64
    assert counts.min() >= 16  # a quarter of it at a corner
    assert (grey.any(axis=1).sum(axis=1) * grey.any(axis=2).sum(axis=1) == counts).all()
    assert grey.any(axis=0).all()


TARGETS = np.eye(4, dtype=np.float32)[np.arange(200) % 4]


def test_mixup_lays_neighbours_over_each_other_and_mixes_their_labels_alike() -> None:
    mixed, targets = mixup(IMAGES, TARGETS, 0.75)
    expected = 0.75 * IMAGES[1].astype(float) + 0.25 * IMAGES[0]
    np.testing.assert_allclose(mixed[1], expected, atol=0.51)
    np.testing.assert_allclose(targets[1], [0.25, 0.75, 0, 0])


def test_cutmix_puts_in_a_box_and_labels_share_by_its_pixels() -> None:
    black, white = np.zeros((1, 20, 20, 1), np.uint8), np.full((1, 20, 20, 1), 255, np.uint8)
    mixed, targets = cutmix(np.concatenate([white, black]), TARGETS[:2], 0.75, (0.5, 0.5))
    assert (mixed[1] == 255).mean() == 0.25
    assert (mixed[1, 5:15, 5:15] == 255).all()
    np.testing.assert_allclose(targets[1], [0.25, 0.75, 0, 0])
    mixed, targets = cutmix(np.concatenate([white, black]), TARGETS[:2], 0.75, (0, 0))  # three quarters lie outside
    assert (mixed[1] == 255).mean() == targets[1, 0] == np.float32(0.0625)


def test_a_batch_is_mixed_alike_each_time_and_otherwise_in_another_epoch() -> None:
    both = Augmentation(mixup=0.4, cutmix=1)
    draws = [mix(IMAGES, TARGETS, ROWS, seed=1, epoch=epoch, augmentation=both) for epoch in (2, 2, 3)]
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    np.testing.assert_array_equal(draws[0][1], draws[1][1])
    assert (draws[0][1] != draws[2][1]).any()
    for _, targets in draws:
        np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)


def test_streams_of_random_numbers_are_independent() -> None:
    numbers = [uniforms(0, 0, np.arange(20_000), 2, stream=stream) for stream in range(3)]
    assert np.abs(np.corrcoef(np.concatenate(numbers, axis=1).T) - np.eye(6)).max() < 0.03
