"""Training images that a network finds similar to an image: the nearest in its features."""

from pathlib import Path

import msgspec
import numpy as np

from models.insight.familiarity import Familiarity
from models.insight.familiarity import read as read_familiarity
from models.insight.network import Network
from models.insight.thumbnails import Thumbnails, read_thumbnails

NUM_SIMILAR = 5


class Similar(msgspec.Struct):
    """A training image.

    Attributes:
        index: of its class.
        similarity: the cosine between both images' features, from -1 to 1.
        jpeg: a small copy of it.
    """

    index: int
    similarity: float
    jpeg: bytes


class Album:
    """The training images that a bundle shows."""

    def __init__(self, familiarity: Familiarity, thumbnails: Thumbnails) -> None:
        self._familiarity, self._thumbnails = familiarity, thumbnails

    @classmethod
    def of(cls, bundle: Path) -> "Album | None":
        """None of a bundle that shows none.

        Raises:
            BrokenBundle: a file of it is damaged.
        """
        familiarity, thumbnails = read_familiarity(bundle), read_thumbnails(bundle)
        if familiarity is None or thumbnails is None or len(familiarity.known) != len(thumbnails.jpegs):
            return None
        return cls(familiarity, thumbnails)

    def similar(self, network: Network, image: np.ndarray) -> list[Similar]:
        """The most similar ones, the nearest first.

        Args:
            image: uint8 (H, W, C), of the network's shape.
        """
        features = self._familiarity.normal(network.look(image[None])[1])
        similarities = (features @ self._familiarity.known.T)[0]
        labels, jpegs = self._thumbnails
        return [Similar(int(labels[i]), float(similarities[i]), jpegs[i]) for i in nearest(similarities, NUM_SIMILAR)]


def nearest(similarities: np.ndarray, count: int) -> list[int]:
    """Places of the highest ones in order; of equal ones the first comes first."""
    found: list[int] = np.argsort(-similarities, kind="stable")[:count].tolist()
    return found
