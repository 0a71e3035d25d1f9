"""What changed from one version to another, and what that did to the images that both were tested on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import TESTED_ON, read_images, read_manifest
from models.store.history import about_version
from training.config.fields import with_new_names
from training.evaluate.significance import Paired
from training.evaluate.trained_on import images_trained_on

COMPARED = ("architecture", "input", "settings", "code", "class_names")


def compare(first_home: Path, first: int, second_home: Path, second: int) -> dict[str, Any]:
    """
    Raises:
        BrokenBundle: one of them cannot be read.
    """
    before, after = about(first_home, first), about(second_home, second)
    bundles = (first_home / str(first), second_home / str(second))
    changes = {path: pair for name in COMPARED for path, *pair in changed(name, before[name], after[name])}
    hashes = [read_images(bundle)["hash"] for bundle in bundles]
    pairs = paired(*bundles)
    return {
        "from": f"{before['model']}/{first}",
        "to": f"{after['model']}/{second}",
        "changes": changes,
        "images_added": int((~np.isin(hashes[1], hashes[0])).sum()),
        "images_removed": int((~np.isin(hashes[0], hashes[1])).sum()),
        "accuracy": None
        if not pairs.num_images
        else {
            **pairs._asdict(),
            "num_images": pairs.num_images,
            "difference": pairs.difference,
            "interval": pairs.interval(),
            "p": pairs.p_value(),
        },
    }


def about(home: Path, version: int) -> dict[str, Any]:
    """`about_version`, with settings under today's names."""
    found = about_version(home, version)
    return {**found, "settings": with_new_names(found["settings"])}


def changed(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path, old, new) of whatever differs, however deep."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from changed(f"{path}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield path, before, after


def paired(first: Path, second: Path, exports: Path | None = None) -> Paired:
    """Images that both were tested on and neither was trained on, with the same label."""
    ours, theirs = (answers_when_tested(bundle, exports) for bundle in (first, second))
    common = ours.keys() & theirs.keys()
    rows = [(ours[image], theirs[image]) for image in common if ours[image][0] == theirs[image][0]]
    right = np.array([[label == said for label, said in row] for row in rows], bool).reshape(-1, 2)
    return Paired.of(right[:, 0], right[:, 1])


def answers_when_tested(bundle: Path, exports: Path | None = None) -> dict[int, tuple[str, str]]:
    """{hash: (label, what the model said)} of the images that it was tested on.

    Images are left out that a model it was made from was trained on.

    Args:
        exports: as for `images_trained_on`.
    """
    names, images = read_manifest(bundle).class_names, read_images(bundle)
    trained_on, _ = images_trained_on(bundle.resolve(), exports)
    rows = images[(images["side"] == TESTED_ON) & ~np.isin(images["hash"], trained_on)]
    return {int(row["hash"]): (names[row["label"]], names[row["predicted"]]) for row in rows}


def describe_differences(found: dict[str, Any]) -> list[str]:
    lines = [f"from {found['from']} to {found['to']}"]
    lines += [f"  {path}: {old} -> {new}" for path, (old, new) in found["changes"].items()]
    lines.append(f"  images: {found['images_added']:,} added, {found['images_removed']:,} removed")
    figures = found["accuracy"]
    if figures is None:
        return [*lines, "  accuracy: no image is known that both were tested on"]
    low, high = figures["interval"]
    return [
        *lines,
        f"  accuracy: {100 * figures['difference']:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f}, 95 %) on "
        f"{figures['num_images']:,} images that both were tested on; McNemar p = {figures['p']:.2g}",
    ]
