"""Archives, which come from somebody else."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes import ROOT
from training.sources import archive
from training.sources.archive import OF_IMAGES, BadArchive, is_archive, unpacked

Pack = Callable[[Path, Mapping[str, bytes]], Path]
FILES = {"cat/1.jpg": b"a cat", "dog/1.jpg": b"a dog", "dog/ä.jpg": b"another"}


def zip_of(path: Path, files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as written:
        for name, content in files.items():
            written.writestr(name, content)
    return path


def tar_of(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as written:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            written.addfile(info, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in (cache / "archives").iterdir() if path.name != ".lock"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_file_is_unpacked_whatever_it_is_called(tmp_path: Path, mode: str) -> None:
    packed = tar_of(tmp_path / "pets", FILES, mode)
    assert is_archive(packed)
    assert contents(unpacked(packed, tmp_path / "cache")) == FILES


def test_a_zip_file_is_unpacked_once(tmp_path: Path) -> None:
    packed = zip_of(tmp_path / "pets.zip", FILES)
    folder = unpacked(packed, tmp_path / "cache")
    assert contents(folder) == FILES
    (folder / "cat" / "1.jpg").write_bytes(b"still here")
    assert contents(unpacked(packed, tmp_path / "cache"))["cat/1.jpg"] == b"still here"
    zip_of(packed, {**FILES, "cat/2.jpg": b"new"})
    assert contents(unpacked(packed, tmp_path / "cache"))["cat/2.jpg"] == b"new"


def test_one_folder_at_the_top_is_entered_unless_files_lie_beside_it(tmp_path: Path) -> None:
    wrapped = {f"pets/{name}": content for name, content in FILES.items()}
    junk = {"__MACOSX/pets/._1.jpg": b"", "pets/.DS_Store": b"", "pets/Thumbs.db": b""}
    assert contents(unpacked(zip_of(tmp_path / "a.zip", {**wrapped, **junk}), tmp_path / "cache")) == FILES
    beside = {**wrapped, "labels.csv": b"file,label"}
    assert contents(unpacked(zip_of(tmp_path / "b.zip", beside), tmp_path / "cache")) == beside


def test_names_are_read_as_windows_and_macos_write_them(tmp_path: Path) -> None:
    """Backslashes, and UTF-8 without the flag that says so."""
    zip_of(tmp_path / "a.zip", {"cat\\1.jpg": b"a", "cat/2.jpg": b"b", "dog/X.jpg": b"c"})
    data = (tmp_path / "a.zip").read_bytes().replace(b"dog/X.jpg", "dog/Äjpg".encode())
    (tmp_path / "a.zip").write_bytes(data)
    assert contents(unpacked(tmp_path / "a.zip", tmp_path / "cache")).keys() == {"cat/1.jpg", "cat/2.jpg", "dog/Äjpg"}


@pytest.mark.parametrize("name", ["../evil.jpg", "cat/../../evil.jpg", "/evil.jpg", "C:/evil.jpg"])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_nothing_is_written_outside(tmp_path: Path, name: str, pack: Pack) -> None:
    packed = pack(tmp_path / "packed", {"cat/1.jpg": b"a cat", name: b"evil"})
    with pytest.raises(BadArchive, match=r"would be written outside of the folder"):
        unpacked(packed, tmp_path / "cache")
    assert not list(tmp_path.rglob("*evil*"))
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    packed = tmp_path / "pets.tar"
    with tarfile.open(packed, "w") as written:
        info = tarfile.TarInfo("cat")
        info.type, info.linkname = kind, "/etc"
        written.addfile(info)
    with pytest.raises(BadArchive, match=r"has a link or a device in it \(cat\)"):
        unpacked(packed, tmp_path / "cache")
    linked = zipfile.ZipInfo("cat")
    linked.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as zipped:
        zipped.writestr(linked, "/etc")
    with pytest.raises(BadArchive, match="has a link"):
        unpacked(tmp_path / "pets.zip", tmp_path / "cache")


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_what_would_grow_too_much_or_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Pack
) -> None:
    packed = pack(tmp_path / "packed", {"cat/1.bmp": bytes(10_000_000)})
    with monkeypatch.context() as patch:
        patch.setattr(archive, "OF_IMAGES", replace(OF_IMAGES, always_allowed=1_000_000))
        with pytest.raises(BadArchive, match=r"more than 200 times as large when unpacked"):
            unpacked(packed, tmp_path / "cache")
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(BadArchive, match=r"does not fit on the disk of .*archives: 900,000 bytes may be used"):
            unpacked(packed, tmp_path / "cache")
    monkeypatch.setattr(archive, "OF_IMAGES", replace(OF_IMAGES, max_entries=2))
    with pytest.raises(BadArchive, match=r"has more than 2 files"):
        unpacked(pack(tmp_path / "many", FILES), tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_an_archive_whose_table_of_contents_is_damaged_says_so(tmp_path: Path) -> None:
    packed = zip_of(tmp_path / "pets.zip", {"cat/1.jpg": b"a cat", "cat/\u00e4.jpg": b"another"})
    whole = packed.read_bytes()
    end = whole.rindex(b"PK\x05\x06")
    moved = whole[: end + 12] + (1 << 20).to_bytes(4, "little") + whole[end + 16 :]  # where the table would end
    misspelt = whole.replace("\u00e4".encode(), b"\xff\xff")
    for damaged in (moved, misspelt):
        packed.write_bytes(damaged)
        with pytest.raises(BadArchive, match="is damaged"):
            unpacked(packed, tmp_path / "cache")


def test_an_archive_that_needs_a_password_says_so(tmp_path: Path) -> None:
    data = bytearray(zip_of(tmp_path / "pets.zip", FILES).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # set the flag in all headers
        start = data.find(signature)
        while start >= 0:
            data[start + offset] |= 1
            start = data.find(signature, start + 1)
    (tmp_path / "pets.zip").write_bytes(data)
    with pytest.raises(BadArchive, match=r"pets\.zip is encrypted\. Unpack it with its password"):
        unpacked(tmp_path / "pets.zip", tmp_path / "cache")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar"])
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, kind: str) -> None:
    noise = {"cat/1.jpg": os.urandom(100_000), "cat/2.jpg": os.urandom(100_000)}
    packed = tmp_path / f"pets.{kind}"
    if kind == "zip":
        data = bytearray(zip_of(packed, noise, method=zipfile.ZIP_STORED).read_bytes())
        data[50_000] ^= 0xFF
    else:
        data = bytearray(tar_of(packed, noise, "w:gz" if kind == "tar.gz" else "w").read_bytes()[:150_000])
    packed.write_bytes(data)
    with pytest.raises(BadArchive, match=r"is damaged \(.*\)\. Get it again"):
        unpacked(packed, tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_several_at_once_unpack_it_once(tmp_path: Path) -> None:
    packed = zip_of(tmp_path / "pets.zip", {f"cat/{i}.jpg": os.urandom(100) for i in range(300)})
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: unpacked(packed, tmp_path / "cache"), range(4)))
    assert len(folders) == len(leftovers(tmp_path / "cache")) == 1
    assert len(contents(folders.pop())) == 300


KILLED = """
import os, signal, sys
from pathlib import Path
from training.sources import archive
copy, count = archive.copy, 0
def copy_two(entry, file):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return copy(entry, file)
archive.copy = copy_two
archive.unpacked(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_leaves_nothing_that_is_taken_for_all_of_it(tmp_path: Path) -> None:
    packed, cache = zip_of(tmp_path / "pets.zip", FILES), tmp_path / "cache"
    done = subprocess.run([sys.executable, "-c", KILLED, packed, cache], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert leftovers(cache) == [".unpacking"]
    assert contents(unpacked(packed, cache)) == FILES
    assert ".unpacking" not in leftovers(cache)
