"""A labelled folder as a bundle sees it: its classes, and which of the images it was trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle.manifest import Manifest, read_images
from training.data.dataset import decode_folder, find_images
from training.data.decoded import DecodedImages
from training.data.index import BadData
from training.evaluate.trained_on import images_trained_on, name_of, near_to
from training.sources.labels import BY_FOLDERS, Labels


@dataclass(frozen=True, slots=True)
class Labelled:
    """Attributes:
    labels: int64 (N,), as the model numbers its classes.
    sides: int8 (N,), on which each image was when the bundle was made, as in `models.bundle.manifest.IMAGE`; 0 where
        it does not know the image.
    trained_on: bool (N,): images that the model, or one that it was made from, was trained on.
    near: bool (N,): those, and near duplicates of them.
    has_image_list: whether the bundle says which images it was made with; older ones do not.
    unknown: models that it was made from, of which nobody knows what they were trained on.
    left_out: {path: reason} of folders, links and tables that are not read.
    notes: sentences about how a table was read.
    """

    decoded: DecodedImages
    labels: np.ndarray
    sides: np.ndarray
    trained_on: np.ndarray
    near: np.ndarray
    has_image_list: bool
    unknown: list[str]
    left_out: dict[str, str]
    notes: tuple[str, ...]

    def seen(self) -> dict[str, Any]:
        """Number of images the model was trained on, which make its metrics too optimistic; None if not recorded."""
        return {
            "trained_on": int(self.trained_on.sum()) if self.has_image_list else None,
            "near_trained_on": int((self.near & ~self.trained_on).sum()) if self.has_image_list else None,
            "unknown_ancestors": self.unknown,
        }


def read_labelled(
    bundle: Path, manifest: Manifest, data: str, cache: Path, console: Console, labels: Labels = BY_FOLDERS
) -> Labelled:
    """
    Raises:
        BadData: the folder cannot be read, or has a class that the model does not know.
        BrokenBundle: what the bundle says of its images is damaged.
    """
    bundle, index = bundle.resolve(), find_images(data, cache, labels=labels).index
    strange = set(index.class_names) - set(manifest.class_names)
    if strange:
        raise BadData(f"The model has no class {min(strange)!r}; it knows {', '.join(manifest.class_names[:20])}.")
    decoded = decode_folder(index, manifest.input_spec, cache, console)
    positions = np.array([manifest.class_names.index(name) for name in index.class_names])
    images = np.sort(read_images(bundle), order=["hash", "side"])
    hashes, sides = decoded.hashes(), np.zeros(len(decoded.labels), np.int8)
    known = np.isin(hashes, images["hash"])
    sides[known] = images["side"][np.searchsorted(images["hash"], hashes[known])]
    trained_on, unknown = images_trained_on(bundle)
    return Labelled(
        decoded=decoded,
        labels=positions[decoded.labels],
        sides=sides,
        trained_on=np.isin(hashes, trained_on),
        near=near_to(decoded, trained_on),
        has_image_list=bool(len(images)),
        unknown=[name for name in unknown if name != name_of(bundle)],
        left_out=index.left_out,
        notes=index.notes,
    )
