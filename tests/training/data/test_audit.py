"""What is wrong with a folder is said before anything is believed that was learnt from it."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.images import encode, encode_turned, noise, shades, smooth, write_folder
from training.cli.app import main
from training.data.audit import SPEC, Audit, audit, statistics, summary
from training.data.decoded import decode_all
from training.data.index import BadData, index_folder

SIZE = (40, 50)
SIDES = ["train"] * 12 + ["val"] * 4 + ["test"] * 4


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of 24 pictures, all sound and different."""
    classes = {"cat": [smooth(*SIZE, seed=i) for i in range(24)], "dog": [smooth(*SIZE, seed=i) for i in range(24, 48)]}
    return write_folder(tmp_path / "data", classes)


def audited(root: Path) -> Audit:
    index = index_folder(root)
    return audit(decode_all(index, SPEC, root.parent / "cache", however_few=True), index)


def test_a_sound_folder_has_nothing_odd(root: Path) -> None:
    found = audited(root)
    assert (found.num_images, found.classes, found.formats) == (48, {"cat": 24, "dog": 24}, {"PNG": 48})
    assert found.sides["width"] == (50, 50, 50)
    assert found.sides["aspect"] == (1.25, 1.25, 1.25)
    assert summary(found) == []
    assert statistics(found)[0] == "48 images in 2 classes: cat 24, dog 24"


def test_what_cannot_be_read_is_named_with_its_reason_however_much_it_is(root: Path) -> None:
    for i in range(60):
        (root / "cat" / f"text-{i}.jpg").write_bytes(b"no image at all")
    found = audited(root)
    assert found.unreadable.keys() == {f"cat/text-{i}.jpg" for i in range(60)}
    lines = summary(found)
    assert lines[0] == "60 files left out, unreadable"
    assert "cat/text-0.jpg: Unrecognized image format (15 bytes)" in lines[1]
    assert lines[6] == "  and 55 more"


def test_a_copy_is_found_by_its_pixels(root: Path) -> None:
    image = Image.open(root / "cat" / "003.png")
    (root / "cat" / "again.bmp").write_bytes(encode(image, "BMP"))
    found = audited(root)
    assert found.copies == (("cat/003.png", "cat/again.bmp"),)
    assert found.near_copies == found.two_labels == ()
    assert "1 picture stored more than once" in summary(found)


def test_the_same_picture_under_two_labels_is_found_though_it_was_stored_anew(root: Path) -> None:
    image = Image.open(root / "cat" / "003.png")
    (root / "dog" / "small.jpg").write_bytes(encode(image.resize((30, 24)), "JPEG", quality=70))
    found = audited(root)
    assert found.near_copies == found.two_labels == (("cat/003.png", "dog/small.jpg"),)
    assert summary(found)[:2] == [
        "1 picture with more than one label: at most one is right",
        "  cat/003.png = dog/small.jpg",
    ]


def test_a_picture_that_the_folders_own_splits_have_on_two_sides_is_found(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 23)):
        images = [smooth(*SIZE, seed=i) for i in range(first, first + 24)]
        write_folder(tmp_path / "data" / split, {"cat": images, "dog": shades(24, 0, 99, seed=first)})
    found = audited(tmp_path / "data")
    assert found.leaked == (("test/cat/000.png", "train/cat/023.png"),)


def test_odd_files_are_read_and_named(root: Path) -> None:
    odd = {
        "CMYK": ("cmyk.jpg", encode(Image.fromarray(smooth(*SIZE, seed=50)).convert("CMYK"), "JPEG")),
        "16 bits a sample": ("deep.png", encode(noise(40, 50).astype(np.uint16) * 257)),
        "more than one frame": ("film.gif", film()),
        "turned by EXIF": ("turned.jpg", encode_turned(smooth(*SIZE, seed=51), 6, "JPEG")),
        "transparent": ("glass.png", encode(noise(40, 50, 4))),
        "extension does not match the format": ("picture.jpg", encode(smooth(*SIZE, seed=52))),
    }
    for name, data in odd.values():
        (root / "cat" / name).write_bytes(data)
    found = audited(root)
    assert {oddity: list(paths) for oddity, paths in found.oddities.items()} == {
        oddity: [f"cat/{name}"] for oddity, (name, _) in odd.items()
    }
    assert found.num_images == 54
    assert "1 file, read all the same: CMYK" in summary(found)


def test_an_image_that_exif_turns_has_the_size_that_is_seen(tmp_path: Path) -> None:
    turned = encode_turned(smooth(60, 30), 6, "JPEG")
    write_folder(tmp_path / "data", {"cat": [turned], "dog": [turned]})
    assert audited(tmp_path / "data").sides["height"] == (60, 60, 60)


def test_small_and_unequal_classes_are_pointed_out(root: Path) -> None:
    write_folder(root, {"bird": shades(3, 0, 255)})
    lines = summary(audited(root))
    assert lines[:2] == ["1 class of fewer than 20 images", "  bird: 3"]
    assert "the largest class has 8 times as many images as the smallest: use balanced accuracy" in lines


def test_a_class_that_only_the_test_folder_has_is_pointed_out_since_fit_refuses_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "data" / "train", {"cat": shades(22, 0, 99), "dog": shades(22, 100, 255)})
    write_folder(tmp_path / "data" / "test", {"bird": shades(22, 50, 150, seed=2), "dog": shades(22, 0, 255, seed=3)})
    found = audited(tmp_path / "data")
    assert found.untrained == {"bird": ("test",)}
    what = "1 class without an image to train on: add some, or remove the class before training"
    assert summary(found) == [what, "  bird: only in test"]


def test_folders_and_links_that_are_not_read_are_pointed_out(root: Path) -> None:
    (root / "bird").mkdir()
    (root / "eel").symlink_to(root / "nowhere")
    (root / "cat" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    found = audited(root)
    assert found.left_out.keys() == {"bird", "eel", "cat/gone.jpg"}
    lines = summary(found)
    assert lines[0] == "3 paths left out, not read as images"
    assert "  bird: a class folder without any file" in lines


def test_class_names_that_differ_by_case_or_blanks_are_pointed_out(root: Path) -> None:
    write_folder(root, {name: [smooth(*SIZE, seed=50 + i)] for i, name in enumerate(("Cat", "cat "))})
    found = audited(root)
    assert found.similar_names == (("Cat", "cat", "cat "),)
    assert "  'Cat' = 'cat' = 'cat '" in summary(found)


def test_what_is_only_in_the_table_or_only_in_the_folder_is_counted_and_named(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    named = [f"{name}/{i:03}.png,{name},p{i % 4},{split}" for name in ("cat", "dog") for i, split in enumerate(SIDES)]
    lost = [f"lost/{i}.png,cat,p0,train" for i in range(7)]
    table.write_text("\n".join(["file,label,patient,split", *named, *lost]))
    arguments = ["audit", str(root), "--cache", str(tmp_path / "cache"), "--labels", str(table)]
    printed = CliRunner().invoke(main, [*arguments, "--group-column", "patient"])
    assert printed.exit_code == 0, printed.output
    for line in (
        "images from column file, classes from column label, splits from column split, groups from column patient",
        "7 rows of the table whose file is missing\n  lost/0.png\n",
        "  lost/4.png\n  and 2 more",
        "8 images in the folder that the table does not name\n  cat/020.png\n",
        "4 groups with images in more than one split: test results will be too optimistic\n  cat/016.png",
    ):
        assert line in printed.stdout
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert found["missing"] == [f"lost/{i}.png" for i in range(7)]
    assert found["unlisted"] == [f"{name}/{i:03}.png" for name in ("cat", "dog") for i in range(20, 24)]
    assert (found["num_images"], found["divided_groups"]) == (40, [])


def test_small_images_are_no_near_duplicates_however_alike(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"cat": [smooth(8, 8)], "dog": [smooth(8, 8) // 2 + 9]})
    assert audited(tmp_path / "data").near_copies == ()


def test_images_that_look_alike_and_are_too_many_to_be_copies_are_counted(root: Path) -> None:
    """Scans of one form: each is trained on or held out by itself, and the figures may flatter."""
    rng, form = np.random.default_rng(0), smooth(*SIZE, seed=99).astype(int)
    scans = [np.clip(form + rng.integers(-60, 61, form.shape), 0, 255).astype(np.uint8) for _ in range(30)]
    write_folder(root, {"form": scans})
    found = audited(root)
    assert found.alike == {"form/000.png": 30}
    sentence = (
        "30 images look alike, too many for one side of the split: only closer copies among them are kept together"
    )
    assert [sentence, "  30 images like form/000.png"] == summary(found)[:2]


def test_a_folder_of_which_nothing_is_readable_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"cat": [b"text"], "dog": [b"text"]})
    with pytest.raises(BadData, match="None of the 2 files"):
        audited(tmp_path / "data")


def test_the_command_prints_it_or_gives_json(root: Path) -> None:
    broken = os.fsdecode(b"caf\xe9\n.jpg")
    (root / "cat" / broken).write_bytes(b"text")
    arguments = ["audit", str(root), "--cache", str(root.parent / "cache")]
    printed = CliRunner().invoke(main, arguments)
    assert printed.exit_code == 0, printed.output
    assert "48 images in 2 classes" in printed.stdout
    assert "1 file left out, unreadable" in printed.stdout
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert list(found["unreadable"]) == [f"cat/{broken}"]
    nowhere = CliRunner().invoke(main, ["audit", str(root / "nowhere")])
    assert (nowhere.exit_code, "is no folder" in nowhere.stderr) == (1, True)


def film() -> bytes:
    """A GIF of two frames."""
    buffer = io.BytesIO()
    first, second = (Image.fromarray(noise(40, 50, seed=seed)) for seed in (60, 61))
    first.save(buffer, "GIF", save_all=True, append_images=[second])
    return buffer.getvalue()
