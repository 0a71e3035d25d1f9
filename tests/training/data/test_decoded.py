"""Every image is decoded once, by the decoder of the service; what cannot be read is listed and stops nothing."""

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from models.bundle.preprocessing import InputSpec, decode_image
from tests.images import encode, encode_turned, noise, shades, smooth, write_folder
from training.data import decoded as cache
from training.data.decoded import DecodedImages, allocate, decode_all
from training.data.index import SPLITS, BadData, index_folder

SPEC = InputSpec(8, 8, 3)
TEXT = b"not an image\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten images of two classes, in several formats and sizes."""
    photographs = [encode(smooth(20 + i, 30, seed=i), kind) for i, kind in enumerate(("JPEG", "PNG", "WEBP", "BMP"))]
    return write_folder(tmp_path / "data", {"cat": [*photographs, *shades(2, 0, 99)], "dog": shades(4, 100, 255)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def decode(root: Path, folder: Path, spec: InputSpec = SPEC) -> DecodedImages:
    return decode_all(index_folder(root), spec, folder)


def check_against_files(decoded: DecodedImages, root: Path, spec: InputSpec = SPEC) -> None:
    """Each row is what the service would make of the file that it names."""
    assert len(decoded.images) == len(decoded.labels) == len(decoded.paths) == len(decoded.files)
    hashes = decoded.files["sha256"]
    for image, label, path, content in zip(decoded.images, decoded.labels, decoded.paths, hashes, strict=True):
        data = (root / path).read_bytes()
        np.testing.assert_array_equal(image, decode_image(data, spec))
        assert path.startswith(decoded.class_names[label] + "/")
        assert content.tobytes() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("spec", [SPEC, InputSpec(12, 10, 1, "pad"), InputSpec(9, 9, 3, "squash")], ids=str)
def test_training_sees_the_pixels_that_the_service_will_see(root: Path, folder: Path, spec: InputSpec) -> None:
    decoded = decode(root, folder, spec)
    assert decoded.images.shape == (10, *spec.shape)
    assert decoded.images.dtype == np.uint8
    check_against_files(decoded, root, spec)


def test_images_turned_by_exif_are_put_upright(tmp_path: Path, folder: Path) -> None:
    images = [encode_turned(noise(8, 8, 3), orientation, "PNG") for orientation in range(1, 9)]
    write_folder(tmp_path / "data", {"cat": images, "dog": images[:1]})
    assert (decode(tmp_path / "data", folder).images == noise(8, 8, 3)).all()


def test_what_cannot_be_read_is_left_out_and_listed_with_its_reason(root: Path, folder: Path) -> None:
    (root / "cat" / "text.jpg").write_bytes(TEXT)
    (root / "dog" / "empty.png").touch()
    (root / "dog" / "cut.png").write_bytes(encode(noise(64, 64, 3))[:3000])
    decoded = decode(root, folder)
    assert decoded.unreadable.keys() == {"cat/text.jpg", "dog/empty.png", "dog/cut.png"}
    assert "Unrecognized image format" in decoded.unreadable["cat/text.jpg"]
    assert "0 bytes" in decoded.unreadable["dog/empty.png"]
    assert len(decoded.images) == 10
    check_against_files(decoded, root)


def test_a_file_that_may_not_be_opened_is_listed_too(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def read_or_fail(path: Path) -> bytes:
        if path.name == "001.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_or_fail)
    assert decode(root, folder).unreadable.keys() == {"cat/001.png", "dog/001.png"}


@pytest.mark.parametrize("name", ["new\nline.jpg", "größe 猫.jpg", os.fsdecode(b"caf\xe9.jpg")])
def test_a_file_may_have_any_name_whether_it_is_readable_or_not(root: Path, folder: Path, name: str) -> None:
    (root / "cat" / name).write_bytes(encode(noise(8, 8, 3)))
    (root / "dog" / name).write_bytes(TEXT)
    decoded = decode(root, folder)
    assert f"cat/{name}" in decoded.paths
    assert list(decoded.unreadable) == [f"dog/{name}"]
    check_against_files(decoded, root)


def fingerprint(decoded: DecodedImages) -> str:
    """Of all of them."""
    return decoded.fingerprint(np.arange(len(decoded.labels)))


def test_a_second_run_decodes_nothing(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "cat" / "text.jpg").write_bytes(TEXT)
    first = decode(root, folder)
    monkeypatch.setattr(cache, "decode_into", lambda *_: pytest.fail("decoded again"))
    second = decode(root, folder)
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.files, second.files)
    assert (list(first.paths), first.unreadable) == (list(second.paths), second.unreadable)
    assert fingerprint(first) == fingerprint(second)


def test_near_duplicates_are_found_once_and_by_their_rows_among_the_readable(root: Path, folder: Path) -> None:
    (root / "cat" / "0.jpg").write_bytes(TEXT)  # the first in order
    (root / "dog" / "again.jpg").write_bytes((root / "cat" / "000.png").read_bytes())
    files, paths = decode(root, folder).files, list(decode(root, folder).paths)
    alone = np.arange(len(paths))
    copy, original = paths.index("dog/again.jpg"), paths.index("cat/000.png")
    np.testing.assert_array_equal(files["group"], np.where(alone == copy, original, alone))
    np.testing.assert_array_equal(files["look"], files["group"])


def test_a_file_that_changed_is_decoded_anew(root: Path, folder: Path) -> None:
    before = decode(root, folder)
    (root / "cat" / "004.png").write_bytes(encode(noise(8, 8)))
    after = decode(root, folder)
    check_against_files(after, root)
    assert fingerprint(before) != fingerprint(after)


def test_another_input_is_decoded_anew(root: Path, folder: Path) -> None:
    decode(root, folder)
    check_against_files(decode(root, folder, InputSpec(8, 8, 3, "squash")), root, InputSpec(8, 8, 3, "squash"))


def test_many_chunks_in_parallel_give_what_one_gives(
    root: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        (root / "cat" / f"text-{i}.jpg").write_bytes(TEXT)
    alone = decode(root, folder)
    monkeypatch.setattr(cache, "CHUNK", 2)
    done: list[int] = []
    together = decode_all(index_folder(root), SPEC, tmp_path / "other", on_progress=done.append)
    assert done == [2] * 6 + [1]
    np.testing.assert_array_equal(alone.images, together.images)
    np.testing.assert_array_equal(alone.files, together.files)
    assert (list(alone.paths), alone.unreadable) == (list(together.paths), together.unreadable)
    check_against_files(together, root)


def test_the_fingerprint_is_of_contents_and_labels_and_not_of_names(root: Path, folder: Path) -> None:
    before = fingerprint(decode(root, folder))
    (root / "cat" / "000.png").rename(root / "cat" / "zzz.png")
    assert fingerprint(decode(root, folder)) == before
    (root / "cat" / "zzz.png").rename(root / "dog" / "zzz.png")
    assert fingerprint(decode(root, folder)) != before


def test_a_folder_of_other_things_is_an_error_that_gives_examples(root: Path, folder: Path) -> None:
    for i in range(11):
        (root / "cat" / f"text-{i}.txt").write_bytes(TEXT)
    with pytest.raises(
        BadData, match=r"11 of 21 files are no readable images\. cat/text-0\.txt: Unrecognized image format"
    ):
        decode(root, folder)


def test_a_folder_without_any_image_is_an_error(tmp_path: Path, folder: Path) -> None:
    write_folder(tmp_path / "data", {"cat": [TEXT], "dog": [TEXT]})
    with pytest.raises(BadData, match="None of the 2 files is an image that can be read"):
        decode(tmp_path / "data", folder)


def test_a_class_of_which_nothing_is_readable_is_an_error(root: Path, folder: Path) -> None:
    write_folder(root, {"bird": [TEXT]})
    with pytest.raises(BadData, match=r"No image of class 'bird' can be read"):
        decode(root, folder)


def test_the_array_has_its_place_on_the_disk_before_anything_is_written(tmp_path: Path) -> None:
    """A write into a sparse map that the disk cannot hold would kill the process."""
    allocate(tmp_path / "images.npy", np.uint8, (100, 100, 100))
    assert (tmp_path / "images.npy").stat().st_blocks * 512 >= 1_000_000


def test_a_full_disk_is_an_error_and_leaves_nothing(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        decode(root, folder)
    assert list((folder / "decoded").iterdir()) == []


def test_a_split_that_the_folder_names_is_kept(tmp_path: Path, folder: Path) -> None:
    for split, low in (("train", 0), ("test", 100)):
        write_folder(tmp_path / "data" / split, {"cat": shades(2, low, low + 50), "dog": shades(2, low + 50, low + 99)})
    assert (
        decode(tmp_path / "data", folder).files["split"].tolist()
        == [SPLITS.index("test")] * 4 + [SPLITS.index("train")] * 4
    )
