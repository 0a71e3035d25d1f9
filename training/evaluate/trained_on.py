"""Finds the images that a model or its ancestors were trained on, which must not be used to evaluate it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import IMAGE, IMPORTED, TRAINED_ON, BrokenBundle, Manifest, read_images, read_manifest
from models.store.layout import PRUNED, record_of
from training.data.decoded import DecodedImages

Ancestor = tuple[str, Path | None]  # a bundle's name, and where it lies; None if it is gone


def images_trained_on(bundle: Path, exports: Path | None = None) -> tuple[np.ndarray, list[str]]:
    """Hashes, uint64 (N,), of what a bundle, its parents, and so on, were trained on; and which of these do not say.

    Parents are the version that was live before, and what training started from, be it of another model. An imported
    model says nothing and is not listed: others' images are not the user's, and no other model starts from its weights.

    Args:
        exports: where its parents are, if the bundle is that of a run and is not published yet.
    """
    found, unknown = [np.empty(0, np.uint64)], list[str]()
    waiting, seen = list[Ancestor]([(name_of(bundle), bundle)]), set[str]()
    while waiting:
        name, place = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        images, parents = images_and_parents(place, exports)
        if not len(images) and not (place and is_imported(place)):
            unknown.append(name)
        found.append(images["hash"][images["side"] == TRAINED_ON])
        waiting += parents
    return np.unique(np.concatenate(found)), unknown


def images_and_parents(bundle: Path | None, exports: Path | None) -> tuple[np.ndarray, list[Ancestor]]:
    """IMAGE (N,): its images; and its parents. None of either where it was deleted, to make room."""
    if bundle is not None:
        with contextlib.suppress(BrokenBundle):
            return read_images(bundle), list(parents_of(bundle, read_manifest(bundle), exports))
    return np.empty(0, IMAGE), []


def is_imported(bundle: Path) -> bool:
    try:
        return read_manifest(bundle).architecture == IMPORTED
    except BrokenBundle:
        return False


def parents_of(bundle: Path, manifest: Manifest, exports: Path | None) -> Iterator[Ancestor]:
    home = bundle.parent.parent if bundle.parent.name == PRUNED else bundle.parent
    homes = [home.parent, *([exports] if exports else [])]
    parent, start = manifest.lineage.get("parent_version"), manifest.lineage.get("from")
    if start and "published" not in start:  # others' images are not the user's
        of_this_model = start["model"] == manifest.model
        version = start.get("version") or (parent if of_this_model else None)  # older records do not say
        recorded = Path(start["bundle"])
        published = [record_of(each / start["model"], version) for each in homes] if version else []
        place = next((place for place in (*published, recorded) if is_start(place, start)), None)
        yield (f"{start['model']}/{version}" if version else name_of(recorded), place)
        if of_this_model:
            return
    if parent is not None:
        places = [record_of(home, parent), *(record_of(each / manifest.model, parent) for each in homes)]
        place = next((place for place in places if place.is_dir()), None)
        yield (f"{manifest.model}/{parent}", place)


def is_start(bundle: Path, start: dict[str, Any]) -> bool:
    """Whether this is the bundle that a lineage speaks of, and no other that has come to lie there."""
    try:
        return started_from(read_manifest(bundle), bundle)["weights_sha256"] == start["weights_sha256"]
    except (BrokenBundle, StopIteration):
        return False


def name_of(bundle: Path) -> str:
    """pets/3 for a version, and pets-20261121-101500/bundle for a run."""
    return f"{bundle.parent.name}/{bundle.name}"


def near_to(decoded: DecodedImages, hashes: np.ndarray) -> np.ndarray:
    """bool (N,): the images of these hashes, and their near duplicates."""
    there, groups = np.isin(decoded.hashes(), hashes), decoded.files["group"]
    near: np.ndarray = np.isin(groups, groups[there])
    return near


def started_from(manifest: Manifest, bundle: Path) -> dict[str, Any]:
    """Which model training started from: by the checksum of its weights, since paths come and go.

    Of weights that others have trained, `published` says where they are from, and on which data they were trained.
    """
    weights = next(digest for name, digest in manifest.files.items() if name.startswith("variables/variables.data"))
    start = {"model": manifest.model, "bundle": str(bundle), "weights_sha256": weights}
    return {**start, "published": manifest.lineage["weights"]} if "weights" in manifest.lineage else start
