"""How good a model is, in words, and what would make it better."""

from dataclasses import dataclass
from typing import Any

import numpy as np

CALIBRATED = 0.05  # expected calibration error up to which confidence can be taken as it is
BY_CHANCE = 1.15  # over the root of the images: 95 % of perfectly calibrated answers have less, as simulated
MUCH = 0.15  # points of accuracy, from 0 to 1, between training and validation
WEAK = 0.15  # by which the recall of a class is below that of all
LAST = 0.05  # of the epochs: a best epoch among these had not come to an end
ENOUGH_EPOCHS = 5  # to say anything about how the curves go
A_GOOD_PART = 0.05  # of a loss
NEAR_NOTHING = 0.01  # of the highest learning rate


@dataclass(frozen=True, slots=True)
class Verdict:
    """Sentences; the first says how often it is right."""

    found: list[str]
    to_do: list[str]


def judge(metrics: dict[str, Any], history: dict[str, list[float]], num_label_errors: int) -> Verdict:
    """
    Args:
        metrics: as `training.evaluate.metrics.measure` gives them, of one image or more.
        history: {metric: one value per epoch}.
        num_label_errors: labels that are likely wrong.
    """
    found = [how_right(metrics), *what_is_confused(metrics), how_calibrated(metrics), what_can_be_seen(metrics)]
    to_do = [*weak_classes(metrics), *about_labels(num_label_errors), *about_training(history)]
    return Verdict([sentence for sentence in found if sentence], to_do)


def how_right(metrics: dict[str, Any]) -> str:
    accuracy, (low, high) = metrics["accuracy"], metrics["accuracy_interval"]
    classes = metrics["per_class"]
    name, share = max(
        ((name, row["num_images"] / metrics["num_images"]) for name, row in classes.items()), key=lambda each: each[1]
    )
    better = "better than" if low > share else "worse than" if high < share else "not certainly better than"
    return (
        f"It is right on {accuracy:.0%} of {metrics['num_images']:,} test images ({low:.0%} to {high:.0%}): {better} "
        f"always saying {name!r}, which is right on {share:.0%}."
    )


def what_is_confused(metrics: dict[str, Any]) -> list[str]:
    """The two classes that are taken for each other most."""
    matrix, names = np.array(metrics["confusion"]), list(metrics["per_class"])
    wrong = matrix + matrix.T
    np.fill_diagonal(wrong, 0)
    i, j = np.unravel_index(wrong.argmax(), wrong.shape)
    if not wrong[i, j]:
        return ["It made no mistake."]
    of = int(matrix[[i, j]].sum())
    return [f"It confuses {names[i]!r} with {names[j]!r} most: {wrong[i, j]} of {of} images of the two."]


def how_calibrated(metrics: dict[str, Any]) -> str:
    error = metrics["expected_calibration_error"]
    if metrics.get("calibration", {}).get("method") == "none":
        return "Its confidence is not calibrated: there were too few images for it."
    if error <= max(CALIBRATED, BY_CHANCE / metrics["num_images"] ** 0.5):
        return f"Its confidence can be believed: it is off by {100 * error:.0f} points on average."
    return f"Its confidence is off by {100 * error:.0f} points on average; do not take it as a probability."


def what_can_be_seen(metrics: dict[str, Any]) -> str:
    return (
        f"{metrics['num_images']:,} test images can show differences between models of "
        f"{100 * metrics['resolvable_difference']:.0f} points or more."
    )


def weak_classes(metrics: dict[str, Any]) -> list[str]:
    """More images of the class that is recognized least, if it is far behind."""
    classes = {name: row for name, row in metrics["per_class"].items() if row["num_images"]}
    name, row = min(classes.items(), key=lambda each: each[1]["recall"])
    if metrics["accuracy"] - row["recall"] < WEAK:
        return []
    low, high = row["recall_interval"]
    return [
        f"Add images of {name!r}: {row['recall']:.0%} ({low:.0%} to {high:.0%}) of its {row['num_images']} test images "
        "were recognized."
    ]


def about_labels(count: int) -> list[str]:
    if not count:
        return []
    return [f"Look at the {count} labels below that are likely wrong, and move the images to the right folders."]


def about_training(history: dict[str, list[float]]) -> list[str]:
    """What the curves say: ended too early, a learning rate near 0, or images learned by heart."""
    rates, losses = history.get("learning_rate", []), history.get("val_loss", [])
    said = []
    if len(losses) >= ENOUGH_EPOCHS and np.argmin(losses) >= len(losses) * (1 - LAST) - 1 and falls(losses):
        said.append("Train longer (--epochs): the loss on the validation images was still falling at the end.")
    idle = sum(rate < NEAR_NOTHING * max(rates) for rate in rates)
    if len(rates) >= ENOUGH_EPOCHS and idle > len(rates) / 2:
        said.append(
            f"Look at the learning rate: in {idle} of {len(rates)} epochs it was below 1 % of its peak, and hardly "
            "anything was learned."
        )
    known, new = history.get("accuracy", []), history.get("val_accuracy", [])
    if known and new and max(known) - max(new) > MUCH:
        said.append(
            f"It learned its images by heart: {max(known):.0%} of them are right, and {max(new):.0%} of the validation "
            "images. More images, augmentation or dropout help."
        )
    return said


def falls(losses: list[float]) -> bool:
    """Whether the last third is lower than the one before it, by more than they vary and by a good part."""
    third = max(1, len(losses) // 3)
    last, before = np.array(losses[-third:]), np.array(losses[-2 * third : -third])
    return bool(before.mean() - last.mean() > max(last.std(), A_GOOD_PART * before.mean()))
