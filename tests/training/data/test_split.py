"""An image's side follows from its content: it stays there whatever is added, and its copies with it."""

from pathlib import Path

import numpy as np
import pytest

from models.bundle.preprocessing import InputSpec
from tests.images import encode, smooth, write_folder
from tests.training.decoded import content_hash, decoded_images, random_hashes
from training.data.audit import audit
from training.data.dataset import without_empty_classes
from training.data.decoded import decode_all
from training.data.duplicates import THUMBNAIL
from training.data.index import BadData, index_folder
from training.data.split import TEST, TRAIN, VAL, Split, split_by_content

SIDES = ("train", "val", "test")


def split_of(hashes: list[str], labels: list[int], splits: list[str] | None = None) -> Split:
    images = np.zeros((len(hashes), 1, 1, 1), np.uint8)
    return split_by_content(decoded_images(images, np.array(labels), hashes=hashes, splits=splits))


def sides_of(hashes: list[str], labels: list[int]) -> dict[str, set[str]]:
    """{content hash: the sides on which it is}."""
    split = split_of(hashes, labels)
    sides: dict[str, set[str]] = {}
    for side in SIDES:
        for row in getattr(split, side):
            sides.setdefault(hashes[row], set()).add(side)
    return sides


def hash_at(fraction: float) -> str:
    """A content hash that lies at this fraction of all hashes."""
    return f"{int(fraction * 2**64):016x}" + "0" * 48


def test_every_image_is_on_exactly_one_side() -> None:
    split = split_of(random_hashes(500), [i % 5 for i in range(500)])
    rows = np.concatenate([split.train, split.val, split.test])
    assert sorted(rows) == list(range(500))
    assert all((np.diff(getattr(split, side)) > 0).all() for side in SIDES)


def test_the_split_is_a_function_of_the_content() -> None:
    hashes, labels = random_hashes(200), [i % 2 for i in range(200)]
    order = np.random.default_rng(0).permutation(200)
    shuffled = sides_of([hashes[i] for i in order], [labels[i] for i in order])
    assert sides_of(hashes, labels) == sides_of(hashes, labels) == shuffled


def test_about_seventy_fifteen_fifteen_of_every_class() -> None:
    """Within four standard deviations of what is drawn."""
    labels = np.repeat([0, 1, 2], [2000, 1000, 500])
    split = split_of(random_hashes(3500), labels.tolist())
    for label, count in enumerate((2000, 1000, 500)):
        for side, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
            got = int((labels[getattr(split, side)] == label).sum())
            assert abs(got - share * count) < 4 * np.sqrt(count * share * (1 - share))


def test_copies_stay_together() -> None:
    hashes = random_hashes(100) * 3
    assert all(len(sides) == 1 for sides in sides_of(hashes, [i % 2 for i in range(100)] * 3).values())


def test_copies_under_different_labels_stay_together_too() -> None:
    hashes = random_hashes(100) * 2
    assert all(len(sides) == 1 for sides in sides_of(hashes, [0] * 100 + [1] * 100).values())


@pytest.mark.parametrize("seed", range(5))
def test_an_image_never_changes_sides_when_others_are_added(seed: int) -> None:
    """From 60 a class on, where every side has an image without the guarantee to small classes."""
    hashes = random_hashes(1200, seed=seed)
    labels = [i % 2 for i in range(1200)]
    before = sides_of(hashes[:120], labels[:120])
    after = sides_of(hashes, labels)
    assert {content: after[content] for content in before} == before


def test_a_new_class_moves_no_image_of_another() -> None:
    hashes, labels = random_hashes(300), [i % 2 for i in range(200)] + [2] * 100
    before, after = sides_of(hashes[:200], labels[:200]), sides_of(hashes, labels)
    assert {content: after[content] for content in before} == before


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_a_small_class_has_an_image_on_every_side(count: int) -> None:
    for seed in range(200):
        split = split_of(random_hashes(2 * count, seed=seed), [0] * count + [1] * count)
        for side in SIDES:
            assert {int(row) // count for row in getattr(split, side)} == {0, 1}, (seed, side)


@pytest.mark.parametrize(
    "fractions", [(0.01, 0.02, 0.03), (0.01, 0.02, 0.9), (0.01, 0.2, 0.29), (0.16, 0.2, 0.29), (0.5, 0.6, 0.7)]
)
def test_three_images_are_one_for_each_side_wherever_their_hashes_lie(fractions: tuple[float, ...]) -> None:
    hashes = [hash_at(fraction) for fraction in fractions]
    split = split_of(hashes + random_hashes(20), [0] * 3 + [1] * 20)
    assert [sum(row < 3 for row in getattr(split, side)) for side in SIDES] == [1, 1, 1]


def test_a_class_of_one_or_two_is_trained_on() -> None:
    split = split_of(random_hashes(23), [0] + [1] * 2 + [2] * 20)
    assert {0, 1, 2} <= set(split.train.tolist())


def test_a_split_that_the_folder_names_is_followed() -> None:
    split = split_of(random_hashes(6), [0, 1] * 3, ["train", "train", "val", "val", "test", "test"])
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([0, 1], [2, 3], [4, 5])


@pytest.mark.parametrize("named", ["val", "test"])
def test_a_side_that_the_folder_lacks_is_made_of_its_training_images(named: str) -> None:
    other = {"val": "test", "test": "val"}[named]
    split = split_of(random_hashes(220), [i % 2 for i in range(220)], ["train"] * 200 + [named] * 20)
    assert getattr(split, named).tolist() == list(range(200, 220))
    assert 10 < len(getattr(split, other)) < 60
    assert max(getattr(split, other)) < 200


def test_a_class_that_is_nowhere_to_train_on_is_an_error() -> None:
    with pytest.raises(BadData, match="No image of class 'class 1' is left to train on"):
        split_of(random_hashes(6), [0, 0, 0, 1, 0, 1], ["train", "train", "val", "val", "test", "test"])


def test_too_few_images_are_an_error() -> None:
    with pytest.raises(BadData, match="4 images are too few to validate and test on: give at least 3 different ones"):
        split_of(random_hashes(4), [0, 0, 1, 1])


def test_a_thousand_copies_are_one_image() -> None:
    with pytest.raises(BadData, match="too few"):
        split_of([content_hash(b"a")] * 500 + [content_hash(b"b")] * 500, [0] * 500 + [1] * 500)


def test_near_duplicates_are_on_one_side_whatever_their_labels(tmp_path: Path) -> None:
    originals = [encode(smooth(40, 50, seed=i)) for i in range(60)]
    copies = [encode(smooth(40, 50, seed=i), "JPEG", quality=60) for i in range(60)]
    root = write_folder(tmp_path / "data", {"cat": originals[:40] + copies[:20], "dog": originals[40:] + copies[20:]})
    index = index_folder(root)
    decoded = decode_all(index, InputSpec(8, 8, 3), tmp_path / "cache")
    split = split_by_content(decoded)
    side_of = {decoded.paths[row]: side for side in SIDES for row in getattr(split, side)}
    found = [[side_of[path] for path in paths] for paths in audit(decoded, index).near_copies]
    assert len(found) >= 55
    assert all(len(set(sides)) == 1 for sides in found)
    assert {sides[0] for sides in found} == set(SIDES)


@pytest.mark.parametrize("count", [21, 200])
def test_near_copies_of_one_picture_are_on_one_side_of_the_split(count: int) -> None:
    rng = np.random.default_rng(count)
    others = rng.integers(0, 256, (20 * count, THUMBNAIL, THUMBNAIL), np.uint8)
    copies = np.clip(others[0] * 0.9 + rng.integers(0, 20, (count, THUMBNAIL, THUMBNAIL)), 0, 255).astype(np.uint8)
    split = split_of_thumbnails(np.concatenate([copies, others[1:]]))
    assert sorted(int((getattr(split, side) < count).sum()) for side in SIDES) == [0, 0, count]


def test_where_everything_looks_alike_there_are_all_sides_all_the_same() -> None:
    """Scans of one form, say."""
    rng = np.random.default_rng(0)
    form = rng.integers(40, 216, (THUMBNAIL, THUMBNAIL))
    scans = (form + rng.integers(-20, 21, (200, THUMBNAIL, THUMBNAIL))).astype(np.uint8)
    split = split_of_thumbnails(scans, np.arange(200) % 2)
    assert all(15 < len(getattr(split, side)) < 170 for side in SIDES)


def split_of_thumbnails(thumbnails: np.ndarray, labels: np.ndarray | None = None) -> Split:
    """Of one class, unless labels say otherwise."""
    count = len(thumbnails)
    labels = np.zeros(count, int) if labels is None else labels
    images = np.zeros((count, 1, 1, 1), np.uint8)
    return split_by_content(decoded_images(images, labels, hashes=random_hashes(count), thumbnails=thumbnails))


@pytest.mark.parametrize("seed", range(5))
def test_an_added_image_that_connects_others_takes_none_back_to_training_and_none_out_of_the_test_split(
    tmp_path: Path, seed: int
) -> None:
    """Eight objects turn by and by, so that pictures of neighbouring angles alone are near."""
    rng, count = np.random.default_rng(seed), 120
    ends, angles = rng.normal(size=(8, 2, THUMBNAIL, THUMBNAIL)), rng.uniform(0, np.pi, (count, 1, 1))
    objects = np.arange(count) % 8
    turned = np.cos(angles) * ends[objects, 0] + np.sin(angles) * ends[objects, 1]
    thumbnails = np.clip(128 + 40 * turned, 0, 255).astype(np.uint8)
    labels, hashes, images = objects % 3, random_hashes(count, seed=seed), np.zeros((count, 1, 1, 1), np.uint8)
    before, moved = np.empty(0, int), 0
    for many in range(16, count + 1):
        decoded = decoded_images(images[:many], labels[:many], hashes=hashes[:many], thumbnails=thumbnails[:many])
        split = split_by_content(decoded, memory=tmp_path / "toy.npy")
        sides = np.full(many, TRAIN)
        sides[split.val], sides[split.test] = VAL, TEST
        assert all(len(set(sides[decoded.files["group"] == first])) == 1 for first in set(decoded.files["group"]))
        assert (sides[: len(before)] >= before).all()
        moved += int((sides[: len(before)] > before).sum())
        before = sides
    assert moved, "nothing was connected"


def test_a_small_class_that_has_become_one_group_is_trained_on_all_the_same(tmp_path: Path) -> None:
    """A picture was added that connects all of its other ones, some of which were held out."""
    hashes, memory = random_hashes(52), tmp_path / "toy.npy"
    named = [""] * 52
    apart = split_with(hashes[:50], named[:50], memory)
    rows = set(range(0, 52, 2))  # the class
    together = split_with(hashes, named, memory, groups=dict.fromkeys(sorted(rows), 0))
    assert rows & set(together.train.tolist()) >= rows & set(apart.train.tolist())
    assert rows & set(apart.test.tolist()) <= set(together.test.tolist())


@pytest.mark.parametrize("seed", range(20))
def test_with_a_memory_nothing_that_was_held_out_is_ever_trained_on(tmp_path: Path, seed: int) -> None:
    """Not even what only filled a small class, of which chance had held out nothing."""
    hashes, memory = random_hashes(200, seed=seed), tmp_path / "splits" / "toy.npy"
    held: dict[str, str] = {}
    for count in (6, 10, 30, 200):
        labels = np.arange(count) % 2
        decoded = decoded_images(np.zeros((count, 1, 1, 1), np.uint8), labels, hashes=hashes[:count])
        split = split_by_content(decoded, memory=memory)
        now = {hashes[row]: side for side in ("val", "test") for row in getattr(split, side)}
        assert held.items() <= now.items()
        held = now


def test_an_image_that_comes_back_is_where_it_was(tmp_path: Path) -> None:
    hashes, memory = random_hashes(40), tmp_path / "toy.npy"

    def held_out(chosen: list[str]) -> set[str]:
        labels = np.arange(len(chosen)) % 2
        decoded = decoded_images(np.zeros((len(chosen), 1, 1, 1), np.uint8), labels, hashes=chosen)
        split = split_by_content(decoded, memory=memory)
        return {chosen[row] for row in [*split.val, *split.test]}

    first = held_out(hashes[:8])
    held_out(hashes[8:])
    assert first <= held_out(hashes)


def test_a_class_that_lost_what_it_was_trained_on_is_split_anew(tmp_path: Path) -> None:
    hashes, memory = random_hashes(43), tmp_path / "toy.npy"

    def split_of_rows(rows: list[int]) -> Split:
        labels = np.array([int(row < 3) for row in rows])
        chosen = [hashes[row] for row in rows]
        decoded = decoded_images(np.zeros((len(rows), 1, 1, 1), np.uint8), labels, hashes=chosen)
        return split_by_content(decoded, memory=memory)

    everyone = list(range(43))
    (trained,) = (row for row in split_of_rows(everyone).train if row < 3)
    everyone.remove(trained)
    assert {0, 1} <= set(split_of_rows(everyone).train.tolist())


def test_the_fractions_can_be_chosen_and_a_larger_part_keeps_what_the_smaller_had() -> None:
    hashes = random_hashes(4000)
    decoded = decoded_images(np.zeros((4000, 1, 1, 1), np.uint8), np.arange(4000) % 2, hashes=hashes)
    few, many = split_by_content(decoded, (0.05, 0.1)), split_by_content(decoded, (0.1, 0.1))
    assert len(few.val) == pytest.approx(200, abs=60)
    assert len(few.test) == pytest.approx(400, abs=80)
    assert set(few.val) < set(many.val)


def test_images_added_to_a_folder_with_splits_get_all_sides_and_leave_the_others_alone() -> None:
    named = ["train"] * 100 + ["test"] * 20
    hashes = random_hashes(520)
    split = split_of(hashes, [i % 2 for i in range(520)], [*named, *[""] * 400])
    added = {side: int((getattr(split, side) >= 120).sum()) for side in SIDES}
    assert set(range(100, 120)) <= set(split.test.tolist())
    assert set(split.train[split.train < 120].tolist()) | set(split.val[split.val < 120].tolist()) == set(range(100))
    assert min(added.values()) > 20
    assert sum(added.values()) == 400


def test_an_added_copy_of_a_named_test_image_is_not_trained_on() -> None:
    hashes = random_hashes(60)
    hashes[40] = hash_at(0.99)  # by itself it would be trained on
    images = np.zeros((60, 1, 1, 1), np.uint8)
    named = ["train"] * 30 + ["test"] * 10 + [""] * 20
    decoded = decoded_images(images, np.arange(60) % 2, hashes=hashes, splits=named)
    decoded.files["group"][40] = 35
    split = split_by_content(decoded)
    assert 40 in split.test


def test_what_was_held_out_stays_so_where_a_near_duplicate_of_it_is_added_to_the_folders_own_training_images(
    tmp_path: Path,
) -> None:
    hashes, memory = random_hashes(60), tmp_path / "toy.npy"
    named = ["train"] * 30 + ["test"] * 10 + [""] * 20
    held = split_with(hashes, named, memory).val
    (chosen, *_) = held[held >= 40]
    again = split_with(hashes, named, memory, groups={int(chosen): 0})
    assert chosen in again.val


def test_an_added_copy_of_a_training_image_that_validates_does_so_too() -> None:
    """The folder names no validation split, so it is made of its training images."""
    hashes, named = random_hashes(60), ["train"] * 30 + ["test"] * 10 + [""] * 20
    (chosen, *_) = split_with(hashes, named).val
    copy = next(row for row in range(40, 60) if row in split_with(hashes, named).train)
    assert chosen < 30
    assert copy in split_with(hashes, named, groups={copy: int(chosen)}).val


def split_with(
    hashes: list[str], named: list[str], memory: Path | None = None, *, groups: dict[int, int] | None = None
) -> Split:
    """Of images of two classes, of which each of `groups` is a near duplicate of another."""
    count = len(hashes)
    decoded = decoded_images(np.zeros((count, 1, 1, 1), np.uint8), np.arange(count) % 2, hashes=hashes, splits=named)
    for row, first in (groups or {}).items():
        decoded.files["group"][row] = first
    return split_by_content(decoded, memory=memory)


def test_images_that_are_left_out_are_on_no_side() -> None:
    hashes = random_hashes(200)
    decoded = decoded_images(np.zeros((200, 1, 1, 1), np.uint8), np.arange(200) % 2, hashes=hashes)
    without = decoded.hashes()[:50]
    split = split_by_content(decoded, without=without)
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(50, 200))


def test_a_class_of_which_all_images_are_left_out_is_no_class() -> None:
    labels = np.repeat([0, 1, 2], 50)
    decoded = decoded_images(np.zeros((150, 1, 1, 1), np.uint8), labels, hashes=random_hashes(150))
    left_out = decoded.hashes()[labels == 1]
    less = without_empty_classes(decoded, left_out)
    assert less.class_names == (decoded.class_names[0], decoded.class_names[2])
    assert less.labels[labels == 2].tolist() == [1] * 50
    split = split_by_content(less, without=left_out)
    assert set(less.labels[split.train].tolist()) == {0, 1}
