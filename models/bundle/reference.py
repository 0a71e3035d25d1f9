"""Statistics of the images that a model was tested on, to detect drift in the images of later requests.

The reference is made of held-out images (`training.runs.bundle_contents`) and travels in the manifest. The service bins
the images of requests by the reference's deciles and compares the bin shares by the population stability index (PSI).
By convention a PSI below 0.1 means no change, above 0.25 a significant change (Siddiqi, 2006, Credit Risk Scorecards).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

IMAGE_STATISTICS = ("brightness", "contrast", "saturation", "sharpness")
STATISTICS = ("confidence", *IMAGE_STATISTICS)
NUM_BINS = 10
MAX_CLASSES = 20  # bins of predicted classes: of many, the rarer ones share the last
CHUNK = 256  # images in memory at a time
SIDE = 32  # pixels of a side that are looked at, about: statistics need no more
FAR = 4  # pixels of those that are looked at, between which coarse changes are measured
SURE = 0.99  # confidence is clipped to this: bfloat16 hardly resolves values closer to 1


@dataclass(frozen=True, slots=True)
class Reference:
    """Statistics of N held-out images.

    Attributes:
        num_images: N.
        classes: names of the most predicted classes; every other one is in a last bin.
        class_shares: share of the predictions in each class bin; len(classes) + 1 values.
        edges: bin edges of each statistic, ascending; NUM_BINS - 1, fewer where values repeat.
        shares: share of the images in each bin.
        mean, precision, distances: of bundles from before 0.2, and not used any more.
    """

    num_images: int
    classes: list[str]
    class_shares: list[float]
    edges: dict[str, list[float]]
    shares: dict[str, list[float]]
    mean: list[float] = field(default_factory=list)
    precision: list[list[float]] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def describe(images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """float64 (N, 7): the STATISTICS, in their order, and two further ones of the pixels for `figures`.

    Args:
        images: uint8 (N, H, W, C).
        probabilities: (N, num_classes).
    """
    # By ufuncs alone: this is computed for every request, and NumPy's functions around them cost as much again.
    step = max(1, min(images.shape[1:3]) // SIDE)
    pixels = images[:, ::step, ::step].astype(np.float32)
    pixels /= 255
    flat = pixels.reshape(len(pixels), -1)
    brightness = mean_of(flat)
    away = flat - brightness[:, None]
    described = np.zeros((len(pixels), len(STATISTICS) + 2))
    described[:, 0] = np.minimum(np.maximum.reduce(probabilities, axis=1), SURE)
    described[:, 1] = brightness
    described[:, 2] = np.sqrt(mean_of(away * away))
    if pixels.shape[3] > 1:
        spread = np.maximum.reduce(pixels, axis=3) - np.minimum.reduce(pixels, axis=3)
        described[:, 3] = mean_of(spread.reshape(len(pixels), -1))
    if pixels.shape[2] > FAR:
        slopes = pixels[:, :, 1:] - pixels[:, :, :-1]
        bends = slopes[:, :, 1:] - slopes[:, :, :-1]
        described[:, 4] = mean_of(np.abs(slopes).reshape(len(pixels), -1))
        described[:, 5] = mean_of(np.abs(bends).reshape(len(pixels), -1))
        described[:, 6] = mean_of(np.abs(pixels[:, :, FAR:] - pixels[:, :, :-FAR]).reshape(len(pixels), -1))
    return described


def figures(described: np.ndarray) -> np.ndarray:
    """What says how odd images are, float64 (N, 6): brightness, and logarithms of the rest without confidence.

    In logarithms an image without any colour is as far from a pale one as that is from a colourful one.
    """
    found = described[:, 1:].copy()
    found[:, 1:] = np.log(found[:, 1:] + 1 / 255)
    return found


def mean_of(rows: np.ndarray) -> np.ndarray:
    mean: np.ndarray = np.add.reduce(rows, axis=1) / np.float32(rows.shape[1])
    return mean


def make_reference(
    class_names: Sequence[str], images: np.ndarray, rows: np.ndarray, probabilities: np.ndarray
) -> Reference:
    """Of held-out images and what the model answers.

    Args:
        images: uint8 (M, H, W, C), which may be mapped from a file.
        rows: int64 (N,), of those that are meant; N is 2 or more.
        probabilities: (N, num_classes).
    """
    chunks = [(rows[i : i + CHUNK], probabilities[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)]
    described = np.concatenate([describe(np.asarray(images[some]), answers) for some, answers in chunks])
    counts = np.bincount(probabilities.argmax(axis=1), minlength=len(class_names))
    most = np.argsort(-counts, kind="stable")[: MAX_CLASSES - 1]
    shares = counts / counts.sum()
    quantiles = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
    edges = {name: np.unique(np.quantile(described[:, i], quantiles)) for i, name in enumerate(STATISTICS)}
    binned = {name: bins_of(described[:, i], edges[name]) for i, name in enumerate(STATISTICS)}
    return Reference(
        num_images=len(rows),
        classes=[class_names[i] for i in most],
        class_shares=[*shares[most].tolist(), float(max(0.0, 1 - shares[most].sum()))],
        edges={name: found.tolist() for name, found in edges.items()},
        shares={name: (np.bincount(b, minlength=len(edges[name]) + 1) / len(b)).tolist() for name, b in binned.items()},
    )


def most_probable(row: np.ndarray, count: int) -> list[int]:
    """Positions of the most probable classes in order; of equal ones the first comes first."""
    order: list[int] = np.argsort(-row, kind="stable")[:count].tolist()
    return order


def at_least(row: np.ndarray, threshold: float) -> list[int]:
    """Positions of the labels whose probability is at least this, the most probable first; there may be none."""
    return [i for i in most_probable(row, len(row)) if row[i] >= threshold]


def bins_of(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.searchsorted(edges, values, side="right")


def psi(expected: np.ndarray, counts: np.ndarray, num_expected: int) -> float:
    """The population stability index of counts against expected shares, both (bins,), less what chance adds to it.

    Half an image is added to each bin, as an empty one would be infinitely far away. Of two samples of n and m images
    from one distribution the index is (bins - 1) (1/n + 1/m) on average (Yurdakul, 2018).

    Args:
        num_expected: images that the shares are of.
    """
    total = max(float(counts.sum()), 1.0)
    found, wanted = (counts + 0.5) / total, expected + 0.5 / total
    found, wanted = found / found.sum(), wanted / wanted.sum()
    by_chance = (len(expected) - 1) * (1 / total + 1 / num_expected)
    return max(0.0, float(((found - wanted) * np.log(found / wanted)).sum()) - by_chance)
