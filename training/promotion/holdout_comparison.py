"""What a challenger is judged by: the answers of both, in a real service, to images that neither was trained on."""

from pathlib import Path

import numpy as np

from models.bundle.manifest import TRAINED_ON, read_images, read_manifest, refuse_many_labels
from training.data.dataset import Data
from training.evaluate.trained_on import images_trained_on, near_to
from training.promotion.gate import Evidence
from training.promotion.trial_service import answers_of, golden_fault, golden_files, trial_service


def gather(
    challenger: Path, home: Path, champion: int | None, data: Data, seen_ns: int, suspected: np.ndarray
) -> Evidence:
    """Classify the held-out images with champion and challenger. Images that either or an ancestor was trained on, and
    near duplicates of these, are left out.

    Args:
        home: the model's folder in the exports.
        seen_ns: feedback written later is the newest, which no job has judged by yet.
        suspected: hashes of feedback that is as new, since it was set aside before.

    Raises:
        ServiceFailed: a bundle is refused, or an image has no answer.
        NotForThisModel: a bundle gives an image any number of labels.
    """
    bundles = [challenger] if champion is None else [home / str(champion), challenger]
    for bundle in bundles:
        refuse_many_labels(read_manifest(bundle), "The gate")
    hashes, rows = data.decoded.hashes(), data.split.test
    ours = read_images(challenger)
    leaked = int(np.isin(hashes[rows], ours["hash"][ours["side"] == TRAINED_ON]).sum())
    trained_on, unknown = (np.empty(0, np.uint64), []) if champion is None else images_trained_on(home / str(champion))
    rows = rows[~near_to(data.decoded, trained_on)[rows]]
    is_new = data.is_further()[rows] & ~np.isin(hashes[rows], known_to(home, champion))
    images = [data.root / data.decoded.paths[row] for row in rows]
    is_late = np.array([path.stat().st_mtime_ns > seen_ns for path in images], bool)
    newest = is_new & (is_late | np.isin(hashes[rows], suspected))
    with trial_service(bundles) as service:
        versions = list(range(1, len(bundles) + 1))
        golden = golden_fault(service, versions[-1], challenger)
        latencies = service.latencies_ms(versions, images or golden_files(challenger))
        answered = [
            answers_of(service, version, bundle, images, times)
            for version, bundle, times in zip(versions, bundles, latencies, strict=True)
        ]
    return Evidence(
        labels=np.array(data.decoded.class_names, object)[data.decoded.labels[rows]],
        newest=newest,
        challenger=answered[-1],
        champion=None if champion is None else answered[0],
        leaked=leaked,
        unknown=unknown,
        golden=golden,
    )


def known_to(home: Path, version: int | None) -> np.ndarray:
    """Hashes of the images that a version was made with, on whatever side."""
    known: np.ndarray = read_images(home / str(version))["hash"] if version is not None else np.empty(0, np.uint64)
    return known
