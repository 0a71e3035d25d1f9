"""One image and one class: which places speak for the class, and which against it."""

import time
from typing import Literal

import msgspec
import numpy as np

from models.insight.masks import cover, random_masks
from models.insight.network import Network

Method = Literal["class_activation", "random_masks"]
BATCH = 2  # covered images computed at once; beside a larger batch, answers waited longer
MOST_MASKS = 800
FEWEST_MASKS = 100  # fewer say hardly anything
CELLS = 14  # along each side of a map from random masks, at most
SEED = 0  # of the masks: the same image gets the same map where time allows the same number


class TooSlow(Exception):
    """The network has no class activation maps, and computes too few masks in the time there is."""


class Explanation(msgspec.Struct):
    """
    Attributes:
        index: of the class.
        probability: of it, in float32.
        map: float32 (height, width) in row order, as bytes; more than 0 where a place speaks for the class. Of class
            activation maps the part of each place in the logarithm of the probability, against those of the other
            classes; of random masks how much more probable the class is where the place is seen.
        passes: images that the network computed.
    """

    method: Method
    index: int
    probability: float
    height: int
    width: int
    map: bytes
    passes: int

    @property
    def values(self) -> np.ndarray:
        """The map, float32 (height, width)."""
        return np.frombuffer(self.map, np.float32).reshape(self.height, self.width)


def explain(
    network: Network, image: np.ndarray, index: int | None, until: float, *, is_multi: bool, rest: float = 0.0
) -> Explanation:
    """
    Args:
        image: uint8 (H, W, C), of the network's shape.
        index: of the class; None for the most probable one.
        until: the time by which it has to be done, in seconds of CLOCK_MONOTONIC.
        is_multi: an image has any number of labels, so that each probability is of its own logit alone.
        rest: seconds of pause after each second in which masks were computed.

    Raises:
        TooSlow: too few masks could be computed until then.
    """
    activation = network.class_activation.maps(image) if network.class_activation else None
    if activation is None:
        return by_masks(network, image, index, until, rest)
    parts, logits = activation
    probabilities = 1 / (1 + np.exp(-logits)) if is_multi else softmax(logits)
    chosen = int(logits.argmax()) if index is None else index
    others = np.zeros_like(probabilities) if is_multi else probabilities
    values = join([part[..., chosen] - part @ others for part in parts])
    return explanation("class_activation", chosen, probabilities, values, passes=1)


def by_masks(network: Network, image: np.ndarray, index: int | None, until: float, rest: float) -> Explanation:
    probabilities = network.probabilities(image[None])[0]
    chosen = int(probabilities.argmax()) if index is None else index
    values, masks = seen(network, image, chosen, until, rest)
    return explanation("random_masks", chosen, probabilities, values, passes=1 + masks)


def explanation(
    method: Method, index: int, probabilities: np.ndarray, values: np.ndarray, *, passes: int
) -> Explanation:
    height, width = values.shape
    encoded = np.ascontiguousarray(values, np.float32).tobytes()
    return Explanation(method, index, float(probabilities[index]), height, width, encoded, passes)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers: np.ndarray = np.exp(logits - logits.max())
    return powers / powers.sum()


def join(parts: list[np.ndarray]) -> np.ndarray:
    """Parts of several sizes as one of the largest, float32 (h, w), with the same sum."""
    height, width = max((part.shape for part in parts), key=lambda shape: shape[0] * shape[1])
    return sum(resized(part, height, width) * (part.size / (height * width)) for part in parts)


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolated linearly between the middles of the places, float32 (height, width)."""
    return interpolation(values.shape[0], height) @ values @ interpolation(values.shape[1], width).T


def interpolation(old: int, new: int) -> np.ndarray:
    """float32 (new, old), whose rows sum to 1."""
    at = np.clip((np.arange(new, dtype=np.float32) + 0.5) / new * old - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old, dtype=np.float32)))


def seen(network: Network, image: np.ndarray, chosen: int, until: float, rest: float) -> tuple[np.ndarray, int]:
    """How much more probable the class is where each place is seen, and the number of masks.

    It is the slope of the probability over the masks' values there.

    Raises:
        TooSlow: as `explain`.
    """
    height, width = image.shape[:2]
    small = min(height, CELLS), min(width, CELLS)
    down = averaging(height, small[0]), averaging(width, small[1]).T
    found: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    took = 0.0
    while len(found) * BATCH < MOST_MASKS and time.monotonic() + (1 + rest) * took < until:
        began = time.monotonic()
        drawn = random_masks(BATCH, height, width, seed=SEED + len(found))
        found.append(network.probabilities(cover(image, drawn))[:, chosen])
        masks.append(down[0] @ drawn @ down[1])
        took = time.monotonic() - began
        time.sleep(rest * took)
    if len(found) * BATCH < FEWEST_MASKS:
        raise TooSlow(len(found) * BATCH)
    probabilities, values = np.concatenate(found), np.concatenate(masks)
    centred = values - values.mean(axis=0)
    covariance = np.tensordot(probabilities - probabilities.mean(), centred, 1) / len(values)
    return covariance / (centred**2).mean(axis=0), len(values)


def averaging(old: int, new: int) -> np.ndarray:
    """float32 (new, old): each row averages the old places that belong to the new one."""
    belongs = np.arange(old) * new // old == np.arange(new)[:, None]
    return (belongs / belongs.sum(axis=1, keepdims=True)).astype(np.float32)
