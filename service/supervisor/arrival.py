"""Whether all files of a version have arrived, and whether one has changed: looked at in every poll, by stat alone.

Whoever copies a version file by file (rsync, kubectl cp, aws s3 sync) may write its manifest before the large files.
"""

from dataclasses import dataclass
from pathlib import Path

from models.bundle.manifest import MANIFEST, BrokenBundle, Manifest, read_manifest
from models.files.stamp import ABSENT, Stamp, stamp_of


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is there of a version."""

    manifest: Stamp  # stamp of the manifest; the list of files is read again only if that changes
    files: tuple[str, ...]  # that the manifest lists; none while it cannot be read
    # of all of them and of their folders, where a file that does not belong there leaves its trace
    stamps: tuple[Stamp, ...]
    num_missing: int  # files that are listed and are not there
    described: Manifest | None = None  # what the manifest says, before anything was compared with it

    @property
    def num_bytes(self) -> int:
        """Of the files that an engine loads."""
        about = MANIFEST.parent.as_posix() + "/"
        sizes = zip(self.files, self.stamps, strict=False)
        return sum(stamp[2] for name, stamp in sizes if not name.startswith(about))

    @property
    def reason(self) -> str | None:
        """Why it cannot be loaded yet."""
        if not self.num_missing:
            return None
        return f"waiting for {self.num_missing} of the {len(self.files)} files that its manifest lists"


def look_at(bundle: Path, before: Arrival | None = None) -> Arrival:
    """
    Args:
        before: what was there when it was looked at last.
    """
    manifest = stamp_of(bundle / MANIFEST)
    is_known = before is not None and before.manifest == manifest
    described = before.described if before is not None and is_known else read(bundle)
    files = tuple(described.files) if described is not None else ()
    paths = [bundle / name for name in files]
    folders = sorted({bundle, bundle / MANIFEST.parent, *(path.parent for path in paths)})
    stamps = [stamp_of(path) for path in paths]
    return Arrival(manifest, files, (*stamps, *map(stamp_of, folders)), stamps.count(ABSENT), described)


def read(bundle: Path) -> Manifest | None:
    try:
        return read_manifest(bundle)
    except BrokenBundle:
        return None
