"""A sheet of what the network will see."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from tests.images import noise, write_folder
from tests.training.decoded import decoded_images
from training.augment.pipeline import augment
from training.cli.app import main
from training.config.augmentation import Augmentation
from training.report.image_grid import GAP, MARGIN, TITLE
from training.report.preview import NUM_EPOCHS, NUM_IMAGES, TILE, draw_preview, some_of_each_class

IMAGES = noise(30, 12, 12, 3)


def tile_of(picture: Image.Image, row: int, column: int) -> np.ndarray:
    """A tile as the 12x12 pixels that it was made of."""
    left = MARGIN + column * (TILE + GAP)
    top = MARGIN + row * (TITLE + TILE + GAP + MARGIN) + TITLE
    return np.asarray(picture.crop((left, top, left + TILE, top + TILE)).resize((12, 12), Image.Resampling.NEAREST))


def test_each_row_has_an_image_and_what_becomes_of_it_in_each_epoch() -> None:
    decoded = decoded_images(IMAGES, np.arange(30) % 3)
    picture = draw_preview(decoded, Augmentation(), seed=5)
    rows = some_of_each_class(decoded.labels)
    assert picture.width == 2 * MARGIN + (1 + NUM_EPOCHS) * (TILE + GAP)
    for place in (0, 7):
        np.testing.assert_array_equal(tile_of(picture, place, 0), IMAGES[rows[place]])
        for epoch in (0, 7):
            seen = augment(IMAGES[rows], rows, seed=5, epoch=epoch, augmentation=Augmentation())
            np.testing.assert_array_equal(tile_of(picture, place, 1 + epoch), seen[place])


def test_every_class_is_shown_while_there_is_room() -> None:
    assert len(some_of_each_class(np.zeros(3, int))) == 3
    rows = some_of_each_class(np.repeat([0, 1, 2], [100, 1, 1]))
    assert len(set(rows.tolist())) == NUM_IMAGES
    assert {100, 101} <= set(rows.tolist())
    assert len(some_of_each_class(np.arange(50))) == NUM_IMAGES


def test_the_command_draws_a_recipe(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"cat": IMAGES[:2], "dog": IMAGES[2:4]})
    output = tmp_path / "sheet.png"
    options = ["--recipe", "alexnet-2012", "--mixup", "1", "--cutout", "0.5", "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(main, ["preview", str(tmp_path / "data"), "-o", str(output), *options])
    assert result.exit_code == 0, result.output
    with Image.open(output) as picture:
        assert picture.width == 2 * MARGIN + (1 + NUM_EPOCHS) * (TILE + GAP)
