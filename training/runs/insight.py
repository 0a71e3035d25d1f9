"""What is found out from an exported network before its bundle is sealed: what is usual for it, and of its mistakes.

It is computed by OpenVINO from the SavedModel, as the service will do.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.bundle.reference import describe, figures
from models.insight.explanation import TooSlow, explain
from models.insight.familiarity import Familiarity, Seen, learn
from models.insight.network import Network
from models.insight.overlay import blend
from models.insight.similar import NUM_SIMILAR, nearest
from training.data.split import Split
from training.report.pictures import Picture

BATCH = 32
MOST_LOOKED_AT = 2000  # training images, and as many held-out ones
FEWEST = 2  # training images, to know what is usual
FEWEST_HELD_OUT = 50  # with 20 twice as many usual images would be marked as with 100
MOST_MAPS = 24  # mistakes for which it is found where the network looked
MAPS_S = 60.0  # for all of them


class Known(NamedTuple):
    """Training images whose features are known.

    Attributes:
        rows: int64 (M,).
        features: float32 (M, F), as they are compared.
    """

    rows: np.ndarray
    features: np.ndarray


def choose_rows(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Rows of training images, and of images by which it is learnt what is usual.

    Those are test images; where there are too few of them, validation images if there are more.
    """
    generator = np.random.default_rng(0)
    held_out = split.test if len(split.test) >= min(len(split.val), FEWEST_HELD_OUT) else split.val
    chosen = generator.permutation(split.train), generator.permutation(held_out)
    return chosen[0][:MOST_LOOKED_AT], chosen[1][:MOST_LOOKED_AT]


def is_enough(split: Split) -> bool:
    """Whether there are images enough to know what is usual."""
    training, held_out = choose_rows(split)
    return len(training) >= FEWEST and len(held_out) >= FEWEST_HELD_OUT


def look(network: Network, images: np.ndarray, rows: np.ndarray) -> Seen:
    """
    Args:
        images: uint8 (N, H, W, C), which may be mapped from a file.
        rows: int64 (M,).
    """
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, len(rows), BATCH):
        some = np.asarray(images[rows[start : start + BATCH]])
        probabilities, features = network.look(some)
        found.append((figures(describe(some, probabilities)), probabilities, features))
    described, probabilities, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Seen(described, probabilities, features if network.num_features else None)


def learn_familiarity(
    network: Network, images: np.ndarray, split: Split, *, are_drawn: bool = False
) -> tuple[Familiarity, Known]:
    """What is usual for a network, from images of which there are enough; see `learn`."""
    training, held_out = choose_rows(split)
    seen = look(network, images, training)
    familiarity = learn(seen, look(network, images, held_out), are_drawn=are_drawn)
    features = np.zeros((len(training), 0), np.float32) if seen.features is None else familiarity.normal(seen.features)
    return familiarity, Known(training, features)


def with_similar(
    mistakes: list[Picture],
    network: Network,
    familiarity: Familiarity,
    known: Known,
    images: np.ndarray,
    labels: list[str],
) -> list[Picture]:
    """With the training images that the network finds most similar.

    Args:
        labels: of every image.
    """
    if not known.features.shape[1] or not mistakes:
        return mistakes
    features = familiarity.normal(np.concatenate([network.look(picture.pixels[None])[1] for picture in mistakes]))
    places = [nearest(similarities, NUM_SIMILAR) for similarities in features @ known.features.T]
    return [
        replace(picture, similar=tuple((np.asarray(images[row]), labels[row]) for row in known.rows[some]))
        for picture, some in zip(mistakes, places, strict=True)
    ]


def with_maps(mistakes: list[Picture], network: Network, class_names: tuple[str, ...]) -> list[Picture]:
    """With where the network looked for the class that it named; without where that takes too long."""
    until = time.monotonic() + MAPS_S
    found = []
    for i, picture in enumerate(mistakes):
        if i < MOST_MAPS and picture.classes is not None:
            left = (until - time.monotonic()) / (min(MOST_MAPS, len(mistakes)) - i)
            picture = mapped(picture, network, class_names.index(picture.classes[1]), time.monotonic() + left)
        found.append(picture)
    return found


def mapped(picture: Picture, network: Network, index: int, until: float) -> Picture:
    try:
        explanation = explain(network, picture.pixels, index, until, is_multi=False)
    except TooSlow:
        return picture
    return replace(picture, looked=blend(picture.pixels, explanation.values))


def network_of(bundle: Path) -> Network | None:
    """None where OpenVINO cannot read the bundle."""
    try:
        return Network(bundle)
    except (ImportError, RuntimeError, ValueError):
        return None
