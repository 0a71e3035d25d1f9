"""A zip or tar file of images, unpacked once into the cache.

    <cache>/archives/<hash of the archive>/     what was in it
    <cache>/archives/.unpacking/                while it is being unpacked; renamed when all of it is on the disk
    <cache>/archives/.lock                      held by the one process that unpacks

An archive is somebody else's: nothing in it is written outside of that folder, and what would fill the disk is refused.
"""

import contextlib
import errno
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from models.errors import UserError
from models.files.durable import sha256
from models.files.folders import is_passed_over, list_folder
from models.files.locks import locked

SHARE_OF_DISK = 0.9  # of what is free
BLOCK = 1 << 20
ENCRYPTED = 0x1  # bits of a zip entry's flags
NAMED_IN_UTF8 = 0x800
DAMAGES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, BadGzipFile, EOFError, UnicodeDecodeError)


class BadArchive(UserError):
    """An archive that cannot or must not be unpacked; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold before it is refused.

    Attributes:
        content: what such archives hold, for messages.
        ratio: unpacked bytes to packed ones.
        always_allowed: bytes, whatever the ratio is.
    """

    content: str
    max_entries: int
    ratio: int
    always_allowed: int


# ImageNet's training part has 1.3 million files. Images are compressed already, but drawings may be packed very well.
OF_IMAGES = Limits("images", max_entries=2_000_000, ratio=200, always_allowed=1 << 30)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive; `content` can be read until the next entry is asked for."""

    name: str
    size: int
    content: IO[bytes]


def is_archive(path: Path) -> bool:
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def unpacked(archive: Path, cache: Path) -> Path:
    """The folder with what is in an archive; if that is one folder and nothing else, this folder.

    Raises:
        BadArchive: it is damaged or encrypted, has links or paths that lead elsewhere, or is too large for the disk.
    """
    folder = cache.resolve() / "archives" / sha256(archive)[:32]
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        with locked(folder.parent / ".lock"):
            if not folder.exists():  # another process may just have unpacked it
                unpack_into(folder, archive, OF_IMAGES)
    files, folders = list_folder(str(folder))
    return Path(folders[0]) if len(folders) == 1 and not files else folder


def unpack_into(folder: Path, archive: Path, limits: Limits) -> None:
    """Unpack an archive into a folder that does not exist yet, and that appears when all of it is on the disk.

    Raises:
        BadArchive: as `unpacked`.
    """
    staging = folder.with_name(".unpacking")
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir()
    try:
        with contextlib.closing(entries_of(archive)) as entries:
            write_entries(entries, staging, archive, limits)
        os.sync()  # once for all files; each on its own would take milliseconds
        staging.rename(folder)
    except DAMAGES as error:
        raise BadArchive(f"{archive} is damaged ({error}). Get it again, or unpack it and give the folder.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_entries(entries: Iterator[Entry], target: Path, archive: Path, limits: Limits) -> None:
    room = int(SHARE_OF_DISK * shutil.disk_usage(target).free)
    allowed = max(limits.always_allowed, limits.ratio * archive.stat().st_size)
    written = 0
    for number, entry in enumerate(entries, 1):
        parts = parts_of(entry.name, archive)
        if number > limits.max_entries:
            raise BadArchive(f"{archive} has more than {limits.max_entries:,} files. Unpack it, and give the folder.")
        if written + entry.size > allowed:
            raise BadArchive(
                f"{archive} would be more than {limits.ratio} times as large when unpacked, which archives of "
                f"{limits.content} are not. If it is one, unpack it, and give the folder."
            )
        if written + entry.size > room:
            raise BadArchive(
                f"{archive} does not fit on the disk of {target.parent}: {room:,} bytes may be used. Make room, or "
                "give --cache a folder on another disk."
            )
        if any(map(is_passed_over, parts)):
            continue
        path = target.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            written += copy(entry, file)


def copy(entry: Entry, file: IO[bytes]) -> int:
    """The number of bytes, which is the one that the entry promises.

    Raises:
        EOFError: it is not.
    """
    count = 0
    while block := entry.content.read(BLOCK):
        count += len(block)
        if count > entry.size:
            break
        file.write(block)
    if count != entry.size:
        raise EOFError(f"{entry.name} has not the {entry.size:,} bytes that are announced")
    return count


def parts_of(name: str, archive: Path) -> tuple[str, ...]:
    """
    Raises:
        BadArchive: the name leads out of the folder that it is unpacked into.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts or name[1:2] == ":":
        raise BadArchive(
            f"{archive} has a file named {name!r}, which would be written outside of the folder that the archive is "
            "unpacked into. Make another archive, with relative paths."
        )
    return path.parts


def entries_of(archive: Path) -> Generator[Entry]:
    return entries_of_zip(archive) if zipfile.is_zipfile(archive) else entries_of_tar(archive)


def entries_of_zip(archive: Path) -> Generator[Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if info.flag_bits & ENCRYPTED:
                raise BadArchive(f"{archive} is encrypted. Unpack it with its password, and give the folder.")
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise has_link(archive, info.filename)
            if info.is_dir():
                continue
            try:
                with opened.open(info) as content:
                    yield Entry(name_in_zip(info), info.file_size, content)
            except NotImplementedError as error:
                raise BadArchive(
                    f"{archive} cannot be unpacked here ({error}). Unpack it, and give the folder."
                ) from None
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                raise zipfile.BadZipFile(f"{info.filename} would lie before the beginning of the file") from None


def name_in_zip(info: zipfile.ZipInfo) -> str:
    """With slashes; as UTF-8 where it is that without saying so, as macOS writes it."""
    name = info.filename
    if not info.flag_bits & NAMED_IN_UTF8:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


def entries_of_tar(archive: Path) -> Generator[Entry]:
    with tarfile.open(archive, "r|*") as opened:  # in one pass, since going back would unpack it again
        for info in opened:
            if info.isdir():
                continue
            content = opened.extractfile(info) if info.isreg() else None
            if content is None:
                raise has_link(archive, info.name)
            yield Entry(info.name, info.size, content)


def has_link(archive: Path, name: str) -> BadArchive:
    return BadArchive(
        f"{archive} has a link or a device in it ({name}), which are not unpacked. Unpack it, and give the folder."
    )
