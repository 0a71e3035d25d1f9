"""What the numbers are that a model answers with: measured on its answers, not guessed from a name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from models.errors import UserError

Numbers = Literal["probabilities", "logits", "independent probabilities", "one probability", "one logit"]
ONE = 1e-3  # how far a sum of probabilities may be from 1; in 16 bits they are not nearer
SMALLEST = 1e-30  # of a probability, whose logarithm is taken


class UnknownModel(UserError):
    """The model cannot be loaded, or classifies no images."""


@dataclass(frozen=True, slots=True)
class OutputFacts:
    """
    Attributes:
        num_classes: two for a model that answers with the one probability of its second class.
        names: of the classes, where the model says them; else none.
    """

    numbers: Numbers
    num_classes: int
    names: tuple[str, ...] = ()

    @property
    def independent(self) -> bool:
        """Whether an image can have several classes, or none."""
        return self.numbers == "independent probabilities"


def choose_output(outputs: Mapping[str, np.ndarray]) -> str:
    """The name of the output that has a row of numbers for each image; of several, the one with most.

    Raises:
        UnknownModel: there is none, as with boxes and masks.
    """
    rows = [name for name, output in outputs.items() if output.ndim == 2 and output.dtype.kind == "f"]
    if not rows:
        shown = ", ".join(f"{name}: {output.dtype} {('?', *output.shape[1:])}" for name, output in outputs.items())
        raise UnknownModel(
            f"It is no classifier of images: it answers with {shown}, and classes need one row of numbers for each "
            "image. Boxes, masks and embeddings are not served."
        )
    return max(rows, key=lambda name: (outputs[name].shape[1], "prob" in name.lower()))


def describe_output(output: np.ndarray, names: tuple[str, ...] = ()) -> OutputFacts:
    """
    Args:
        output: float (N, K), of images that differ.

    Raises:
        UnknownModel: it is an embedding, or has numbers that are none.
    """
    output = output.astype(np.float64)
    if not np.isfinite(output).all():
        raise UnknownModel("It answers with numbers that are not finite: is the scaling of the images the right one?")
    columns = output.shape[1]
    within = output.min() >= 0 and output.max() <= 1
    names = names if len(names) == max(columns, 2) else ()
    if columns == 1:
        return OutputFacts("one probability" if within else "one logit", 2, names)
    if within and np.abs(output.sum(axis=1) - 1).max() < ONE:
        return OutputFacts("probabilities", columns, names)
    if within:
        return OutputFacts("independent probabilities", columns, names)
    if output.min() >= 0 or np.ptp(np.linalg.norm(output, axis=1)) < ONE:
        raise UnknownModel(
            f"It answers with {columns} numbers that are no classes: none is ever negative, or all rows have one "
            "length, as features have. Add a last layer with a number for each class, train it, then import the whole."
        )
    return OutputFacts("logits", columns, names)


def logits_of(output: np.ndarray, about: OutputFacts) -> np.ndarray:
    """float64 (N, num_classes), of which softmax (a sigmoid for independent probabilities) gives the probabilities."""
    output = output.astype(np.float64)
    if about.numbers == "logits":
        return output
    if about.numbers == "one logit":
        return np.concatenate([np.zeros_like(output), output], axis=1)
    if about.numbers == "one probability":
        output = np.concatenate([1 - output, output], axis=1)
    if about.numbers == "independent probabilities":
        return np.log(np.maximum(output, SMALLEST)) - np.log(np.maximum(1 - output, SMALLEST))
    return np.log(np.maximum(output, SMALLEST))


def probabilities_of(output: np.ndarray, about: OutputFacts) -> np.ndarray:
    """float64 (N, num_classes), as the bundle must answer."""
    if about.numbers == "independent probabilities":
        return output.astype(np.float64)
    if about.numbers in ("probabilities", "one probability"):
        return np.concatenate([1 - output, output], axis=1) if output.shape[1] == 1 else output.astype(np.float64)
    found: np.ndarray = special.softmax(logits_of(output, about), axis=1)
    return found
