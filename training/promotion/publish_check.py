"""The check when a person publishes a model: better than chance, and not significantly worse than the live version.

`fit --publish`, `quantize --publish` and `publish` ask this; a retraining job has its own gate (`rules.py`).
Everything is read from what the bundles say they were tested on: no image is classified again.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.bundle.manifest import read_manifest
from models.store.live import read_live
from training.evaluate.significance import Paired
from training.evaluate.trained_on import images_trained_on, name_of
from training.promotion.gate import Evidence, Gate, ModelPredictions
from training.promotion.rules import check_floors, check_majority_baseline, percent
from training.promotion.version_diff import answers_when_tested, paired


def publish_checked(
    bundle: Path, exports: Path, how: Callable[[Path, Path], int], *, force: bool
) -> tuple[int | None, str]:
    """Publish a bundle, unless it fails the check; returns its version, or None and the reason why it has none.

    Args:
        how: publishes a bundle in the exports.
        force: do without the check.
    """
    if not force:
        try:
            check_before_publishing(bundle, exports)
        except Refused as refusal:
            return None, str(refusal)
    return how(bundle, exports), ""


class Refused(Exception):
    """The model should not answer anybody; the message says why."""


def check_before_publishing(bundle: Path, exports: Path) -> None:
    """
    Raises:
        Refused: the model is not significantly better than always naming the most frequent class, a class is
            recognised significantly less often than by chance, the live version is significantly better, or no
            test images are left to check any of this.
        BrokenBundle: a bundle cannot be read.
    """
    check_ancestors(bundle.resolve(), exports)
    answers = answers_when_tested(bundle, exports)
    if not answers:
        raise Refused(
            "There is no test image that neither the model nor an ancestor was trained on, so the model's accuracy is "
            "unknown."
        )
    evidence = evidence_of(read_manifest(bundle).class_names, list(answers.values()))
    for rule in (check_majority_baseline, check_floors):
        finding = rule(evidence, Gate())
        if finding is not None and finding.outcome != "pass":
            raise Refused(finding.reason)
    home = exports / read_manifest(bundle).model
    live = read_live(home).live
    if live is not None:
        check_against(paired(home / str(live), bundle, exports), live)


def check_ancestors(bundle: Path, exports: Path) -> None:
    unknown = [name for name in images_trained_on(bundle, exports)[1] if name != name_of(bundle)]
    if unknown:
        raise Refused(
            f"The training images of the model's ancestor {unknown[0]} are not recorded; the model's test images may "
            "be among them."
        )


def evidence_of(class_names: tuple[str, ...], answers: list[tuple[str, str]]) -> Evidence:
    """
    Args:
        answers: the label and the predicted class of each held-out image.
    """
    places = [class_names.index(predicted) for _, predicted in answers]
    predictions = np.eye(len(class_names))[places]
    labels = np.array([label for label, _ in answers], object)
    return Evidence(
        labels, np.zeros(len(labels), bool), ModelPredictions(class_names, predictions, [], 0), champion=None
    )


def check_against(pairs: Paired, live: int) -> None:
    """Refuse a loss that McNemar's exact test finds significant."""
    if not pairs.num_images:
        raise Refused(
            f"Version {live} is live, and no image is known that both models were tested on, so nobody can tell which "
            "one is better."
        )
    if pairs.difference < 0 and pairs.p_value() < Gate().alpha:
        raise Refused(
            f"On {pairs.num_images} images that both were tested on, its accuracy differs by "
            f"{percent(pairs.difference)} from that of the live version {live}, which is a significant loss "
            f"(p = {pairs.p_value():.2g})."
        )
