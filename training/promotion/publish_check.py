"""The check when a person publishes a model: better than chance, and not significantly worse than the live version.

`fit --publish`, `quantize --publish` and `publish` ask this; a retraining job has its own gate (`rules.py`).
Everything is read from what the bundles say they were tested on: no image is classified again.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.bundle.manifest import read_manifest
from models.store.live import read_live
from models.store.mirror import bring_version, pull_for_training
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
    reason = "" if force else reason_to_refuse(bundle, exports)
    return (None, reason) if reason else (how(bundle, exports), "")


def reason_to_refuse(bundle: Path, exports: Path) -> str:
    """Why a bundle should not be published; "" if nothing speaks against it.

    Raises:
        BrokenBundle: a bundle cannot be read.
    """
    manifest = read_manifest(bundle)
    home = exports / manifest.model
    live = read_live(home).live
    if live is not None:
        bring_version(home, live)
        pull_for_training(home)
    manifests = [manifest, *([] if live is None else [read_manifest(home / str(live))])]
    if any(each.task == "multi_label" for each in manifests):
        which = "this model" if manifest.task == "multi_label" else f"the live version {live}"
        return f"The check compares models that give an image one label, and {which} gives it any number of labels."
    unknown = [name for name in images_trained_on(bundle.resolve(), exports)[1] if name != name_of(bundle.resolve())]
    if unknown:
        return (
            f"The training images of the model's ancestor {unknown[0]} are not recorded; the model's test images may "
            "be among them."
        )
    answers = [*answers_when_tested(bundle, exports).values()]
    if not answers:
        return (
            "There is no test image that neither the model nor an ancestor was trained on, so the model's accuracy is "
            "unknown."
        )
    names = manifest.class_names
    labels = np.array([label for label, _ in answers], object)
    predictions = ModelPredictions(names, np.eye(len(names))[[names.index(said) for _, said in answers]], [], 0)
    evidence = Evidence(labels, np.zeros(len(labels), bool), predictions, champion=None)
    for rule in (check_majority_baseline, check_floors):
        finding = rule(evidence, Gate())
        if finding is not None and finding.outcome != "pass":
            return finding.reason
    return "" if live is None else loss_against(paired(home / str(live), bundle, exports), live)


def loss_against(pairs: Paired, live: int) -> str:
    """What to say of a loss that McNemar's exact test finds significant; "" if there is none."""
    if not pairs.num_images:
        return (
            f"Version {live} is live, and no image is known that both models were tested on, so nobody can tell which "
            "one is better."
        )
    if pairs.difference >= 0 or pairs.p_value() >= Gate().alpha:
        return ""
    return (
        f"On {pairs.num_images} images that both were tested on, its accuracy differs by {percent(pairs.difference)} "
        f"from that of the live version {live}, which is a significant loss (p = {pairs.p_value():.2g})."
    )
